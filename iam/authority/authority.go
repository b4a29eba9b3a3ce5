package authority

import (
	"cmp"
	"context"
	"crypto/rsa"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/iam"
	"secretstore/iam/attempts"
	"secretstore/iam/password"
)

// Config is what an [Authority] needs.
type Config struct {
	// Storage must not be sealed and unsealed before New returns.
	Storage iam.Storage
	// Superusers are those of the file, to begin with.
	Superusers Superusers
	Log        *zap.Logger
	// Rounds of new hashes, and the least of a refusal; password.Rounds if it is 0.
	Rounds int
	// RecordsOnly: it only keeps records for others, on a server without an IAM.
	RecordsOnly bool
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
}

// Authority is the IAM of one server. Make it with [New], and close it. Its methods
// are many because the API, the tokens and the pages each see a part of it, through
// interfaces of their own.
type Authority struct {
	storage iam.Storage
	log     *zap.Logger
	now     func() time.Time

	state   atomic.Pointer[state] // replaced under mu
	mu      sync.Mutex
	changed chan struct{} // guarded by mu
	ended   chan struct{} // gets a value when the next end of a grant has changed

	rounds  int // Config.Rounds
	limits  *attempts.Limits
	workers *password.Workers
	decoy   *rsa.PublicKey // of accounts that do not exist
	signIns counters
	upkeep  *upkeep

	life    context.Context // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup
}

// New returns the IAM on a storage, which it follows from now on.
func New(c Config) (*Authority, error) {
	limits, err := attempts.New()
	if err != nil {
		return nil, err
	}
	a := &Authority{
		storage: c.Storage, log: c.Log, now: c.Now, changed: make(chan struct{}), ended: make(chan struct{}, 1),
		limits: limits, decoy: decoyKey(),
	}
	a.upkeep = newUpkeep(a)
	if a.now == nil {
		a.now = time.Now
	}
	a.rounds = cmp.Or(c.Rounds, password.Rounds)
	empty := (&iam.Directory{}).At(a.now())
	a.state.Store(&state{directory: empty, sealed: empty})
	a.SetSuperusers(c.Superusers)
	a.life, a.stop = context.WithCancel(context.Background())
	a.workers = password.NewWorkers(a.rounds)
	a.running.Go(func() { a.endGrants(a.life) })
	if !c.RecordsOnly {
		a.running.Go(func() { a.upkeep.run(a.life) })
	}
	a.storage.Follow((*listener)(a))
	return a, nil
}

// Close ends what New started. The storage must no longer call the listener.
func (a *Authority) Close() {
	a.stop()
	a.workers.Close()
	a.running.Wait()
	a.limits.Close()
}

// Directory returns the entries, with the superusers of the file. The error says
// that they may not be used now: the store is sealed, the entries are not loaded
// yet, or the storage has been away for too long.
func (a *Authority) Directory() (*iam.Directory, error) {
	s, err := a.usable()
	if err != nil {
		return nil, err
	}
	return s.directory, nil
}

// usable returns the state if it may be used.
func (a *Authority) usable() (*state, error) {
	if err := a.storage.Check(); err != nil {
		return nil, err
	}
	s := a.state.Load()
	if !s.loaded { // it was sealed meanwhile
		return nil, iam.ErrNotLoaded
	}
	return s, nil
}

// Known returns what may be used in any case: the superusers of the file, and no
// other entry.
func (a *Authority) Known() *iam.Directory { return a.state.Load().sealed }

// Era returns a number that changes with each change of the superusers of the file.
func (a *Authority) Era() uint64 { return a.state.Load().era }

// Changed returns a channel that is closed when the directory or a record changes.
// The time of last use is not such a change.
func (a *Authority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// update replaces the state by what edit makes of a copy. It wakes those who wait
// on Changed if edit returns true.
func (a *Authority) update(edit func(*state) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := *a.state.Load()
	wake := edit(&s)
	if now := a.now(); !s.directory.NextEnd().IsZero() && !now.Before(s.directory.NextEnd()) {
		s.directory = s.directory.At(now)
	}
	a.state.Store(&s)
	if wake {
		close(a.changed)
		a.changed = make(chan struct{})
		select {
		case a.ended <- struct{}{}:
		default:
		}
	}
}

// maxTimer bounds a wait for a time on the clock, which may be set.
const maxTimer = time.Minute

// endGrants lets grants end at their time.
func (a *Authority) endGrants(ctx context.Context) {
	for {
		wait := maxTimer
		if end := a.state.Load().directory.NextEnd(); !end.IsZero() {
			wait = max(0, min(wait, end.Sub(a.now())))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-a.ended:
			timer.Stop()
		case <-timer.C:
			if end := a.state.Load().directory.NextEnd(); !end.IsZero() && !a.now().Before(end) {
				a.update(func(*state) bool { return true })
			}
		}
	}
}
