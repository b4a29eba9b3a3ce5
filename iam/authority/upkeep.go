package authority

import (
	"context"
	"maps"
	"slices"
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

// upkeep writes what follows from the work of the server: the entries that every
// directory has, new hashes, and times of last use.
type upkeep struct {
	authority *Authority
	rehashes  rehashes
	used      sync.Map // of iam.UID to time.Time: last uses seen since the start
}

func newUpkeep(a *Authority) *upkeep {
	return &upkeep{authority: a, rehashes: rehashes{waiting: make(map[iam.UID]rehash), wake: make(chan struct{}, 1)}}
}

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
func (k *upkeep) rehash(c credentials, pass []byte) {
	a := k.authority
	if c.text == "" || c.hash.Rounds() >= a.rounds || a.workers.Waiting() > 0 {
		return
	}
	own := slices.Clone(pass)
	a.running.Go(func() {
		defer clear(own)
		h, err := a.workers.Hash(a.life, iam.Client{UID: c.who.UID}, own)
		if err != nil {
			return
		}
		k.rehashes.add(c.who.UID, rehash{c.text, h.String()})
	})
}

// run is at work until ctx is done.
func (k *upkeep) run(ctx context.Context) {
	hour := time.NewTicker(usedEvery)
	defer hour.Stop()
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	done := uint64(0) // the last load that was set up
	usedDue := false
	for {
		changed := k.authority.Changed()
		if loads, ok := k.setUp(ctx, done); ok {
			done = loads
		}
		k.writeRehashes(ctx)
		if usedDue && k.writeUsed(ctx) {
			usedDue = false
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-k.rehashes.wake:
		case <-hour.C:
			usedDue = true
		case <-retry.C:
		}
	}
}

// setUp makes the entries that every directory has, once after each load. It
// leaves a damaged directory as it is: the entries may be there.
func (k *upkeep) setUp(ctx context.Context, done uint64) (loads uint64, ok bool) {
	a := k.authority
	s, err := a.usable()
	if err != nil || s.loads == done {
		return 0, false
	}
	if s.damage() > 0 {
		a.log.Warn("records of the identities are damaged; they grant nothing", zap.Int("records", s.damage()))
		return s.loads, true
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	err = a.Change(ctx, func(d *iam.Directory) (iam.Change, error) {
		return d.Setup(iam.Origin{At: a.now().UTC().Truncate(time.Second)}), nil
	})
	if err != nil {
		a.log.Warn("could not make the group of superusers; trying again", zap.Error(err))
	}
	return s.loads, err == nil
}

// writeRehashes writes the new hashes that wait, if the storage is there.
func (k *upkeep) writeRehashes(ctx context.Context) {
	for uid, r := range k.rehashes.all() {
		ctx, cancel := context.WithTimeout(ctx, writeTime)
		err := k.authority.Change(ctx, func(d *iam.Directory) (iam.Change, error) {
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
		k.rehashes.remove(uid)
	}
}

func (r *rehashes) add(uid iam.UID, h rehash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) < maxRehashes {
		r.waiting[uid] = h
	}
	select {
	case r.wake <- struct{}{}:
	default:
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
