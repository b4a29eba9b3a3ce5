package seal

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/pgp"
	"secretstore/store"
)

// Options are what a Store is made of.
type Options struct {
	Backend store.Backend
	// Bootstrap initialises an empty storage with a new key pair, keeps its
	// private key beside the data, and unseals with it.
	Bootstrap bool
	// BootstrapKeyFile is where the bootstrap private key is kept; "" keeps it
	// in the storage itself (keys/bootstrap_user.key).
	BootstrapKeyFile string
	// MaxSecretSize is the largest value in bytes; 0 means 1 MiB.
	MaxSecretSize int64
	// KeepVersions is how many earlier values of each secret are kept.
	KeepVersions int
	// GenerateKey makes the bootstrap key. Nil makes a new RSA-4096 key, as every
	// command does; tests that open many stores give one that takes no time.
	GenerateKey func() (*pgp.PrivateKey, error)
	Log         *zap.Logger
}

// DefaultMaxSecretSize is the largest value in bytes where none is configured.
const DefaultMaxSecretSize = 1 << 20

// Store is one secret store, as this server sees it.
type Store struct {
	id      string // of this server, random for each start
	backend store.Backend
	keeper  keyKeeper
	log     *zap.Logger

	bootstrap bool
	maxSize   int64
	keep      int  // earlier values of a secret
	alone     bool // no other server can have the storage open
	offline   bool // see Recover: the intent does not matter and nothing is followed

	barrier barrier
	view    atomic.Pointer[view]
	// turn is held by the one lifecycle operation (init, unseal, seal,
	// refresh) under way. It is a channel, not a mutex, because it is held
	// over I/O: whoever waits for it leaves at the deadline of its context.
	// Reads and writes of secrets do not take it.
	turn chan struct{}
	// sealPending: this server was sealed by hand and has not been able to
	// record it. While it is set nothing unseals by itself.
	sealPending atomic.Bool
	// compactDue: a rotation is done, but what its old keys open may still lie
	// in the storage.
	compactDue atomic.Bool
	writers    keyQueue
	listers    keyQueue
	chores     *chores
	watchers   *watchers
	tracker    *tracker

	// Touched only by whoever has the turn:
	ended    endedSeals
	pin      []byte    // of the root key this server has known; see checkPin
	lookedAt time.Time // when the last look that was adopted began
	handover handoverWatch
	newborn  *newborn // what this server has initialised; nil if nothing

	unsealing entered // shares of the unseal key
	verifying entered // shares of the next one, in a rekey

	wake      chan struct{} // asks follow for a refresh; capacity 1
	rotateNow chan struct{} // asks rotate for a pass; capacity 1
	cancel    context.CancelFunc
	owned     sync.WaitGroup
}

// Open reads the state of the storage, bootstraps and unseals as the options
// say, and starts to follow what other servers do. Storage that is out of reach
// is not an error: the store is then in StateUnknown and goes on trying. The
// context bounds the start alone.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Backend == nil || o.Log == nil || o.MaxSecretSize < 0 || o.MaxSecretSize > maxSize || o.KeepVersions < 0 || o.KeepVersions > MaxKeepVersions {
		return nil, errors.New("internal error: seal.Open needs a backend, a log, a size up to 4 GiB and up to 100 versions")
	}
	s := &Store{
		id:        newNonce(),
		backend:   o.Backend,
		keeper:    newKeyKeeper(o),
		log:       o.Log,
		bootstrap: o.Bootstrap,
		alone:     isAlone(o.Backend),
		maxSize:   o.MaxSecretSize,
		keep:      o.KeepVersions,
		turn:      make(chan struct{}, 1),
		wake:      make(chan struct{}, 1),
		rotateNow: make(chan struct{}, 1),
		writers:   newKeyQueue(),
		listers:   newKeyQueue(),
		chores:    newChores(),
		watchers:  newWatchers(),
		tracker:   newTracker(),
	}
	if s.maxSize == 0 {
		s.maxSize = DefaultMaxSecretSize
	}
	s.barrier.dropped = s.keysDropped
	s.view.Store(&view{kind: storageUnknown, detail: "the storage has not answered yet"})
	first, done := context.WithTimeout(ctx, startTimeout)
	defer done()
	if err := s.refresh(first); err != nil {
		s.log.Warn("the state of the store is not known yet; trying on", zap.Error(err))
	}
	if s.Status().State == StateSealed {
		s.log.Warn("the store is sealed", zap.String("reason", s.whySealed()))
	}

	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.backend.Watch(run, []store.Key{keyConfig, keyKeyring, keyIntent}, s.poke)
	s.backend.Changes(run, s.changed)
	s.owned.Go(func() { s.track(run) })
	s.owned.Go(func() { s.follow(run) })
	s.owned.Go(func() { s.collect(run) })
	s.owned.Go(func() { s.expire(run) })
	s.owned.Go(func() { s.rotate(run) })
	for range choreWorkers {
		s.owned.Go(func() { s.chores.run(run) })
	}
	return s, nil
}

// whySealed says why a store that has keys was not unsealed at the start.
func (s *Store) whySealed() string {
	switch v := s.view.Load(); {
	case v.intent.Sealed:
		return "it was sealed on purpose"
	case !s.bootstrap:
		return "bootstrap is off: a holder of the unseal key unseals it"
	case !v.holdsBootstrapKey:
		return "no bootstrap key that opens it is there, or it cannot be read: a holder of the unseal key unseals it"
	default:
		return "the recorded wish to be unsealed is not genuine, or the bootstrap key does not open it"
	}
}

// startTimeout bounds how long Open waits for the storage and, on an empty one,
// for the generation of the bootstrap key.
const startTimeout = 15 * time.Second

// Close drops the keys and waits for everything the Store has started. It
// records no intent, and leaves the backend open.
func (s *Store) Close() error {
	s.cancel()
	s.owned.Wait()
	s.barrier.drop()
	return nil
}

// Status returns the seal status of this server, without I/O.
func (s *Store) Status() Status {
	v := s.view.Load()
	st := Status{Detail: v.detail, HoldsBootstrapKey: v.holdsBootstrapKey}
	switch v.kind {
	case storageEmpty:
		st.State = StateUninitialized
	case storageDamaged:
		st.State = StateDamaged
	case storagePresent:
		st.State = StateSealed
		if s.barrier.isOpen() {
			st.State = StateUnsealed
		}
		st.UUID, st.Shares, st.Threshold, st.Progress = v.config.UUID, v.config.Shares, v.config.Threshold, s.unsealing.progressOf(v.config.KeyCheck)
	default:
		st.State = StateUnknown
	}
	return st
}

// ready returns why there is nothing to unseal or read, or nil.
func (s *Store) ready() error {
	switch v := s.view.Load(); v.kind {
	case storageEmpty:
		return ErrUninitialized
	case storageDamaged:
		return ErrDamaged
	case storagePresent:
		return nil
	default:
		return store.ErrUnavailable
	}
}

// Ping asks the storage whether it answers. store.ErrUnavailable.
func (s *Store) Ping(ctx context.Context) error { return s.backend.Ping(ctx) }

// MaxSecretSize returns the largest value in bytes.
func (s *Store) MaxSecretSize() int64 { return s.maxSize }

// takeTurn waits for the other lifecycle operation to end.
func (s *Store) takeTurn(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return store.ErrUnavailable
	}
}

func (s *Store) giveTurn() { <-s.turn }

// poke asks for a refresh soon. It never blocks.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
