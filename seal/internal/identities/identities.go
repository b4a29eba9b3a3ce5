package identities

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/iam"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Identities implements [iam.Storage] for one server.
type Identities struct {
	backend store.Backend
	barrier *barrier.Barrier
	log     *zap.Logger

	wake  chan struct{} // asks Run to look; capacity 1
	turn  chan struct{} // held by who reads or writes the records; capacity 1
	drops atomic.Uint64 // how often keys were dropped
	// loaded is drops+1 of when the records were loaded. So it does not fit any more
	// once the keys were dropped.
	loaded      atomic.Uint64
	unreachable atomic.Bool
	stopReading atomic.Pointer[context.CancelFunc] // ends what Run reads

	// mu is held while the listener is called, never over I/O.
	mu       sync.Mutex
	listener iam.Listener // nil if nobody follows
	state    *state       // nil unless loaded; changed by the holder of turn

	noteMu   sync.Mutex
	stale    bool              // the head may have changed; guarded by noteMu, as the rest
	ids      map[store.ID]byte // the buckets of what is in memory
	suspects map[byte]struct{} // buckets in which something has changed
}

// state is what a server knows of the records. It is immutable.
type state struct {
	drops   uint64 // Identities.drops while it is good
	head    *head  // the newest genuine one; the zero head if there is none yet
	buckets [buckets]*bucket
	// headDamage is what is wrong with the head in the storage; headLost says that
	// there has been no genuine one since the unseal, so that nothing is known.
	headDamage error
	headLost   bool
	foreign    int // names below the root that are not of buckets
}

// bucket is what is known of one index and its records. It is immutable.
type bucket struct {
	digest  digest // of its index
	lost    bool   // that index cannot be read: no record counts
	entries map[barrier.IAMName]entry
	damage  map[store.Key]error // what is damaged in the storage
	foreign int
}

// entry is a record that the index names.
type entry struct {
	id   envelope.ID
	seq  uint64 // of the change that wrote it
	name string // "" if it was never read
	lost bool   // it cannot be read, so that it does not count
}

var emptyBucket = &bucket{}

// New returns the identities in a backend. Run does the work.
func New(backend store.Backend, b *barrier.Barrier, log *zap.Logger) *Identities {
	s := &Identities{backend: backend, barrier: b, log: log, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	b.OnDrop(func() {
		s.drops.Add(1)
		if stop := s.stopReading.Load(); stop != nil {
			(*stop)()
		}
		s.poke()
	})
	b.OnOpen(s.poke)
	return s
}

// Follow implements [iam.Storage].
func (s *Identities) Follow(l iam.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	s.poke()
}

// Check implements [iam.Storage]: barrier.ErrSealed and the like, iam.ErrNotLoaded,
// store.ErrUnavailable.
func (s *Identities) Check() error {
	if err := s.barrier.Ready(); err != nil {
		return err
	}
	if s.loaded.Load() != s.drops.Load()+1 {
		return iam.ErrNotLoaded
	}
	if s.unreachable.Load() {
		return store.ErrUnavailable
	}
	return nil
}

// Lost reports whether there is, or may have been, a record of that name that
// cannot be read. It counts as absent, but that must not give a right to anybody.
func (s *Identities) Lost(name string) bool {
	st := s.current()
	if st == nil {
		return true
	}
	var hash barrier.IAMName
	if s.barrier.Use(func(k *barrier.Keys) error { hash = k.IAMName(name); return nil }) != nil {
		return true
	}
	b := st.buckets[hash[0]]
	return st.headLost || b.lost || b.entries[hash].lost
}

func (s *Identities) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// current returns the state that is good now; nil if there is none.
func (s *Identities) current() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil || s.state.drops != s.drops.Load() {
		return nil
	}
	return s.state
}

// following reports whether somebody wants to know the records.
func (s *Identities) following() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener != nil
}

// takeTurn waits until nobody else reads or writes. store.ErrUnavailable at the
// deadline.
func (s *Identities) takeTurn(ctx context.Context) (give func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, store.ErrUnavailable
	}
}

// news is what the listener has to know about a new state.
type news struct {
	put     []iam.Record
	removed []string
}

// publish makes next the state, unless the keys were dropped since it was begun:
// barrier.ErrSealed. The caller has the turn.
func (s *Identities) publish(next *state, n news) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil || next.drops != s.drops.Load() {
		return barrier.ErrSealed
	}
	s.remember(next)
	found := next.finding()
	before := s.state
	s.state = next
	switch {
	case before == nil:
		s.listener.Load(next.head.seq, n.put, found.Damaged)
		s.log.Info("the identities are loaded", zap.Int("records", len(n.put)), zap.Int("damaged", found.Damaged))
	case len(n.put) > 0 || len(n.removed) > 0 || before.head.seq != next.head.seq || before.finding().Damaged != found.Damaged:
		s.listener.Change(next.head.seq, n.put, n.removed, found.Damaged)
	}
	s.loaded.Store(next.drops + 1)
	s.barrier.Damage().Report(barrier.KeyIAM, found)
	return nil
}

// remember notes the ids of the records of st that are new.
func (s *Identities) remember(st *state) {
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	if s.ids == nil {
		s.ids = make(map[store.ID]byte)
		for i := range buckets {
			s.ids[store.RecordID(indexKey(byte(i)))] = byte(i)
			s.ids[store.ListingID(indexKey(byte(i)))] = byte(i)
		}
	}
	for i, b := range st.buckets {
		if s.state != nil && s.state.buckets[i] == b {
			continue
		}
		for name := range b.entries {
			s.ids[store.RecordID(recordKey(name))] = byte(i)
		}
	}
}

// note takes a report of the change feed.
func (s *Identities) note(c store.Changes) {
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	found := c.Missed
	s.stale = s.stale || c.Missed
	for _, id := range c.IDs {
		if id == headID {
			s.stale, found = true, true
		} else if b, ok := s.ids[id]; ok {
			if s.suspects == nil {
				s.suspects = make(map[byte]struct{})
			}
			s.suspects[b] = struct{}{}
			found = true
		}
	}
	if found {
		s.poke()
	}
}

var headID = store.RecordID(barrier.KeyIAM)

// taken returns what was noted since, and forgets it.
func (s *Identities) taken() (stale bool, suspects []byte) {
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	stale, suspects = s.stale, slices.Sorted(maps.Keys(s.suspects))
	s.stale, s.suspects = false, nil
	return stale, suspects
}

// putBack notes again what could not be looked at.
func (s *Identities) putBack(suspects []byte) {
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	s.stale = true
	for _, b := range suspects {
		if s.suspects == nil {
			s.suspects = make(map[byte]struct{})
		}
		s.suspects[b] = struct{}{}
	}
}

// forget drops the state if the keys were dropped since.
func (s *Identities) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil || s.state.drops == s.drops.Load() {
		return
	}
	s.state = nil
	s.listener.Forget()
	s.noteMu.Lock()
	defer s.noteMu.Unlock()
	s.ids, s.suspects, s.stale = nil, nil, false
}

const (
	// lookEvery is how often a server makes sure that the storage is in reach.
	lookEvery = time.Second
	// retryEvery is the pause after a failure.
	retryEvery = time.Second
	// checkEvery is how often all records are compared with what is in memory:
	// changes by hand are in no change feed.
	checkEvery = time.Minute
	// checkPause is the pause between two buckets of that comparison.
	checkPause = 50 * time.Millisecond
	// readTimeout bounds one attempt to read what has changed.
	readTimeout = 30 * time.Second
	// lookTimeout bounds the question whether the storage is in reach.
	lookTimeout = 5 * time.Second
)

// Run loads the records after each unseal, and follows the changes, until the
// context ends.
func Run(ctx context.Context, s *Identities) {
	s.backend.Changes(ctx, s.note)
	r := runner{Identities: s, checking: buckets}
	defer r.forgetAtEnd()
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Reset(r.step(ctx))
	}
}

// forgetAtEnd tells the listener, after Run, that nothing is followed any more.
func (s *Identities) forgetAtEnd() {
	s.drops.Add(1)
	s.forget()
}

// runner is the state of Run.
type runner struct {
	*Identities
	loadedOnce uint64    // drops+1 of the load that was compared in full
	checking   int       // the next bucket to compare; buckets if all were
	nextCheck  time.Time // of all records
	failed     string    // the last error, which was logged
}

// step does what is due, and returns how long nothing is due then.
func (r *runner) step(ctx context.Context) (pause time.Duration) {
	r.forget()
	if !r.following() || !r.barrier.IsOpen() {
		return lookEvery
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	drops := r.drops.Load()
	r.stopReading.Store(&cancel)
	defer r.stopReading.Store(nil)
	if r.drops.Load() != drops {
		return 0 // dropped before it could be stopped
	}
	r.look(ctx)
	stale, suspects := r.taken()
	first := r.current() == nil
	err := r.within(ctx, func(ctx context.Context) error {
		if stale || first {
			if err := r.read(ctx, nil); err != nil {
				return err
			}
		}
		for _, b := range suspects {
			if err := r.read(ctx, new(int(b))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.putBack(suspects)
		return r.fail(err)
	}
	if first || time.Now().After(r.nextCheck) {
		if first {
			r.loadedOnce = drops + 1
		}
		r.checking, r.nextCheck = 0, time.Now().Add(checkEvery)
	}
	if r.checking >= buckets {
		r.failed = ""
		return lookEvery
	}
	// At once after an unseal, and then slowly.
	if err := r.within(ctx, func(ctx context.Context) error { return r.read(ctx, &r.checking) }); err != nil {
		return r.fail(err)
	}
	r.failed = ""
	r.checking++
	if r.loadedOnce == drops+1 && r.checking < buckets {
		return time.Nanosecond
	}
	r.loadedOnce = 0
	return checkPause
}

// within runs one attempt, in turn.
func (r *runner) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	give, err := r.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer give()
	return do(ctx)
}

func (r *runner) fail(err error) time.Duration {
	if r.barrier.IsOpen() && err.Error() != r.failed {
		r.failed = err.Error()
		r.log.Warn("cannot read the identities; will keep retrying", zap.Error(err))
	}
	return retryEvery
}

// look finds out whether the storage has answered within the time that operators
// allow. The seal intent is always there, and in memory.
func (r *runner) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	_, err := r.backend.Get(ctx, barrier.KeyIntent, store.Cached)
	r.unreachable.Store(err != nil)
}

// finding returns what is damaged.
func (st *state) finding() (f barrier.Finding) {
	f.Foreign = st.foreign
	f.Skip(st.headDamage)
	for _, b := range st.buckets {
		f.Foreign += b.foreign
		for _, key := range slices.Sorted(maps.Keys(b.damage)) {
			f.Skip(b.damage[key])
		}
	}
	return f
}

func sortedNames[V any](of map[barrier.IAMName]V) []barrier.IAMName {
	return slices.SortedFunc(maps.Keys(of), func(a, b barrier.IAMName) int { return slices.Compare(a[:], b[:]) })
}
