package authority

import (
	"context"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"secretstore/iam"
)

const (
	// retryEvery is how long work that the storage did not take waits.
	retryEvery = 10 * time.Second
	// writeTime bounds one write of upkeep.
	writeTime = 30 * time.Second
	// maxRehashes bounds the new hashes that wait for the storage.
	maxRehashes = 1000
)

// rehashes are new hashes of the same passwords, which are to be written.
type rehashes struct {
	mu      sync.Mutex
	waiting map[iam.UID]rehash // guarded by mu
	wake    chan struct{}
}

type rehash struct{ old, hash string }

// rehash makes a new hash of a password that was verified, if the one of the
// account is weaker than those made now. It does not keep the caller waiting, and
// leaves it if others wait to sign in: there will be another time.
func (a *Authority) rehash(c credentials, pass []byte) {
	if c.text == "" || c.hash.Rounds() >= a.rounds || a.workers.Waiting() > 0 {
		return
	}
	own := append([]byte(nil), pass...)
	a.running.Go(func() {
		defer clear(own)
		h, err := a.workers.Hash(a.life, iam.Client{UID: c.who.UID}, own)
		if err != nil {
			return
		}
		a.rehashes.mu.Lock()
		if len(a.rehashes.waiting) < maxRehashes {
			a.rehashes.waiting[c.who.UID] = rehash{c.text, h.String()}
		}
		a.rehashes.mu.Unlock()
		select {
		case a.rehashes.wake <- struct{}{}:
		default:
		}
	})
}

// upkeep writes what follows from the work of the server, until ctx is done.
func (a *Authority) upkeep(ctx context.Context) {
	hour := time.NewTicker(usedEvery)
	defer hour.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	done := uint64(0) // the last load that was set up
	usedDue := false
	for {
		changed := a.Changed()
		if loads, ok := a.setUp(ctx, done); ok {
			done = loads
		}
		a.writeRehashes(ctx)
		if usedDue && a.writeUsed(ctx) {
			usedDue = false
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-a.rehashes.wake:
		case <-hour.C:
			usedDue = true
		case <-retry.C:
		}
	}
}

// setUp makes the entries that every directory has, once after each load. It
// leaves a damaged directory as it is: the entries may be there.
func (a *Authority) setUp(ctx context.Context, done uint64) (loads uint64, ok bool) {
	s, err := a.usable()
	if err != nil || s.loads == done {
		return 0, false
	}
	if s.damage() > 0 {
		a.log.Warn("records of the identities are damaged; they give no right", zap.Int("records", s.damage()))
		return s.loads, true
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	err = a.Change(ctx, func(d *iam.Directory) (iam.Change, error) {
		return d.Setup(iam.Origin{At: a.now().UTC().Truncate(time.Second)}), nil
	})
	if err != nil {
		a.log.Warn("the group of superusers could not be made; trying again", zap.Error(err))
	}
	return s.loads, err == nil
}

// writeRehashes writes the new hashes that wait, if the storage is there.
func (a *Authority) writeRehashes(ctx context.Context) {
	for uid, r := range a.rehashes.all() {
		ctx, cancel := context.WithTimeout(ctx, writeTime)
		err := a.Change(ctx, func(d *iam.Directory) (iam.Change, error) {
			u, err := d.User(uid)
			if err != nil || d.OfFile(uid) || u.Hash != r.old {
				return iam.Change{}, nil
			}
			return d.Rehash(uid, r.old, r.hash)
		})
		cancel()
		if err != nil {
			return // the storage is away
		}
		a.rehashes.remove(uid)
	}
}

func (r *rehashes) all() map[iam.UID]rehash {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.waiting)
}

func (r *rehashes) remove(uid iam.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, uid)
}
