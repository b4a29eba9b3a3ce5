package lifecycle

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/internal/holders"
	"secretstore/seal/internal/mode"
	"secretstore/store"
)

// Config is what a Lifecycle is made of.
type Config struct {
	Backend store.Backend
	Barrier *barrier.Barrier
	// Bootstrap initializes an empty storage with a key pair of the server, and
	// unseals with it.
	Bootstrap         bool
	BootstrapKeyStore bootstrapkey.Store
	// KeyringChanged is called after this server has written a new keyring. It
	// must not block.
	KeyringChanged func()
	// RenewRecords returns what writes the MACs under the root key of other packages
	// again, in the transaction that replaces it by next. Nil if there are none.
	RenewRecords func(context.Context) (func(k *barrier.Keys, next *envelope.Key) []store.Op, error)
	// Self is this server, as it announces itself to the others.
	Self Server
	// Nodes returns the servers that announce themselves to people; nil if none
	// do. A server that the others do not see, but people do, runs an older
	// release.
	Nodes func(context.Context) ([]Server, error)
	// Mode is the security mode of this server, and ModeChosen says that an
	// operator chose it, so that the store remembers it.
	Mode       mode.Mode
	ModeChosen bool
	// Scrub erases the garbage in the memory of the process. Nil does nothing.
	Scrub func()
	Log   *zap.Logger
}

// Lifecycle is the life cycle of one store, as this server sees it. Its methods
// are those of its parts. What other packages need besides is in functions, so
// that package seal can embed a Lifecycle.
type Lifecycle struct {
	*machine
	*Initializer
	*Unsealer
	*Rekeys
}

// New returns a life cycle in StateUnknown, and connects the barrier to it.
func New(c Config) *Lifecycle {
	m := &machine{
		backend:           c.Backend,
		barrier:           c.Barrier,
		bootstrap:         c.Bootstrap,
		bootstrapKeyStore: c.BootstrapKeyStore,
		keyringChanged:    c.KeyringChanged,
		renewRecords:      c.RenewRecords,
		log:               c.Log,
		turn:              make(chan struct{}, 1),
		wake:              make(chan struct{}, 1),
		late:              make(chan barrier.Contents, 1),
		snapshots:         snapshotReader{c.Backend, c.Barrier, c.Bootstrap, c.BootstrapKeyStore},
		servers:           liveServers{c.Backend, c.Barrier, c.Self, c.Nodes, make(chan struct{}, 1)},
		trust:             trustCheck{barrier: c.Barrier, log: c.Log},
		mode:              securityMode{barrier: c.Barrier, log: c.Log, own: c.Mode, chosen: c.ModeChosen, unfit: make(chan struct{})},
	}
	m.scrubbing.scrub, m.scrubbing.poke = c.Scrub, m.poke
	if c.Scrub == nil {
		m.scrubbing.scrub = func() {}
	}
	if m.renewRecords == nil {
		m.renewRecords = func(context.Context) (func(*barrier.Keys, *envelope.Key) []store.Op, error) {
			return func(*barrier.Keys, *envelope.Key) []store.Op { return nil }, nil
		}
	}
	m.unsealer = &Unsealer{machine: m}
	m.initializer = &Initializer{machine: m}
	m.rekeys = &Rekeys{machine: m}
	m.snapshot.Store(&snapshot{state: storageUnknown, detail: "the storage has not answered yet"})
	c.Barrier.OnDrop(m.servers.noteKeys)
	c.Barrier.SetHooks(barrier.Hooks{Refresh: m.refresh, WhyNoKeys: m.ready})
	return &Lifecycle{m, m.initializer, m.unsealer, m.rekeys}
}

// machine is the state of the life cycle, and what moves it. What belongs to an
// unseal, a rekey or the first start alone is in Unsealer, Rekeys and Initializer; it has
// as many methods as those three need in common.
type machine struct {
	backend           store.Backend
	barrier           *barrier.Barrier
	bootstrap         bool
	bootstrapKeyStore bootstrapkey.Store
	keyringChanged    func()
	renewRecords      func(context.Context) (func(k *barrier.Keys, next *envelope.Key) []store.Op, error)
	log               *zap.Logger
	unsealer          *Unsealer
	initializer       *Initializer
	rekeys            *Rekeys
	snapshots         snapshotReader
	servers           liveServers
	trust             trustCheck
	mode              securityMode
	scrubbing         scrubbing

	snapshot atomic.Pointer[snapshot]
	// turn is held by the one operation of the life cycle (init, unseal, seal,
	// refresh) under way. It is a channel, not a mutex, because it is held over
	// I/O: those who wait give up at the deadline of their context.
	turn chan struct{}
	// sealPending: an operator sealed this server, and it has not been able to
	// record that. While it is set the server does not unseal by itself.
	sealPending atomic.Bool
	// sealOrder is the last seal by hand on this server; never nil while
	// sealPending is set.
	sealOrder atomic.Pointer[sealOrder]
	// entered is when this server came into its state, and outage since when the
	// storage has not answered; nil while it does.
	entered atomic.Pointer[stateEntry]
	outage  atomic.Pointer[time.Time]

	// missedHandover: this server is sealed because a new root key was not for it.
	missedHandover atomic.Bool
	// restoreProblem is why the last unseal has left the store sealed, if that is
	// what it was restored from.
	restoreProblem atomic.Pointer[RestoreError]

	// restoreWarning is what the first unseal after a restore has found, if this
	// server has done it. Nil or empty is nothing.
	restoreWarning atomic.Pointer[string]
	late           chan barrier.Contents // what CountLate compares with; capacity 1

	// Owned by the holder of the turn:
	ended    endedSeals
	pin      []byte    // of the root key this server knows; see checkPin
	takenAt  time.Time // when reading the current snapshot began
	handover handoverTimer
	newStore *newStore // what this server has initialized; nil if nothing

	unsealing holders.ShareCollector // shares of the unseal key
	approving holders.ShareCollector // shares of the unseal key, for a rekey
	verifying holders.ShareCollector // shares of the next one, in a rekey

	wake chan struct{} // asks follow for a refresh; capacity 1
}

// Status returns the seal status of this server, without I/O.
func (m *machine) Status() Status {
	s := m.snapshot.Load()
	unseals := m.barrier.OpenCount() // before the state, so that none counts that State does not know
	st := Status{State: m.stateOf(s), Unseals: unseals, Detail: s.detail, HoldsBootstrapKey: s.holdsBootstrapKey}
	if s.state == storagePresent {
		st.UUID, st.Shares, st.Threshold, st.Progress = s.config.UUID, s.config.Shares, s.config.Threshold, m.unsealing.Progress(s.config.KeyCheck)
	}
	switch st.State {
	case StateUninitialized:
		st.CreatingKey = m.bootstrapKeyStore.Creating()
	case StateUnsealed:
		st.ConfigWarning = configTrust(m.trust.last.Load()).warning()
		st.ModeWarning = modeRecord(m.mode.last.Load()).warning()
		if lacks := m.restoreWarning.Load(); lacks != nil {
			st.RestoreWarning = *lacks
		}
		_ = m.barrier.Use(func(k *barrier.Keys) error { st.Restored = k.Ring.Restored; return nil }) // or just sealed
	case StateSealed:
		if m.missedHandover.Load() {
			st.SealWarning = errNotHandedOver.Error()
		}
		if problem := m.restoreProblem.Load(); problem != nil {
			st.RestoreProblem = problem.Error()
		}
		st.ModeWarning = m.mode.suspicion(s)
		order := s.intent.order()
		if pending := m.sealOrder.Load(); m.sealPending.Load() && pending != nil {
			order = *pending
		}
		st.SealedBy, st.SealedAt = order.by, order.at
	}
	st.ModeProblem = m.mode.problem()
	if e := m.entered.Load(); e != nil && e.state == st.State {
		st.Since = e.at
	}
	if since := m.outage.Load(); since != nil {
		st.Outage = *since
	}
	return st
}

// stateOf returns the state of this server, given the current snapshot.
func (m *machine) stateOf(s *snapshot) State {
	switch s.state {
	case storageEmpty:
		return StateUninitialized
	case storageDamaged:
		return StateDamaged
	case storagePresent:
		if m.barrier.IsOpen() {
			return StateUnsealed
		}
		return StateSealed
	}
	return StateUnknown
}

// stateEntry is when this server came into a state.
type stateEntry struct {
	state State
	at    time.Time
}

// noteState remembers when the state has changed. It is called after each change;
// follow also calls it, for the keys that are dropped elsewhere.
func (m *machine) noteState() {
	for {
		old, now := m.entered.Load(), stateEntry{m.stateOf(m.snapshot.Load()), time.Now()}
		if old != nil && old.state == now.state || m.entered.CompareAndSwap(old, &now) {
			return
		}
	}
}

// noteOutage remembers since when the storage has not answered.
func (m *machine) noteOutage(away bool) {
	switch since := m.outage.Load(); {
	case !away:
		m.outage.Store(nil)
	case since == nil:
		now := time.Now()
		m.outage.Store(&now)
	}
}

// ready returns why there is nothing to unseal or read, or nil.
func (m *machine) ready() error {
	switch m.snapshot.Load().state {
	case storageEmpty:
		if m.bootstrapKeyStore.Creating() {
			return barrier.ErrCreatingKey
		}
		return barrier.ErrUninitialized
	case storageDamaged:
		return barrier.ErrDamaged
	case storagePresent:
		return nil
	default:
		return store.ErrUnavailable
	}
}

// WhySealed says why a store that has keys was not unsealed at the start.
func WhySealed(l *Lifecycle) string {
	switch s := l.snapshot.Load(); {
	case l.mode.refused.Load():
		return l.mode.problem()
	case l.restoreProblem.Load() != nil:
		return l.restoreProblem.Load().Error()
	case s.intentMissing:
		return "there is no record that it is to be unsealed, as after a restore: a holder of the unseal key, or auto-unseal, unseals it"
	case s.intent.Sealed:
		return "it was sealed on purpose"
	case !l.bootstrap:
		return "bootstrap is off: a holder of the unseal key unseals it"
	case !s.holdsBootstrapKey:
		return "there is no bootstrap key that opens it, or the key cannot be read: a holder of the unseal key unseals it"
	default:
		return "the recorded intent to be unsealed is not genuine, or the bootstrap key does not open it"
	}
}

// takeTurn waits until no other operation of the life cycle is under way.
func (m *machine) takeTurn(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return store.ErrUnavailable
	}
}

func (m *machine) giveTurn() { <-m.turn }

// TakeTurn waits until no operation of the life cycle is under way, and keeps
// others from starting until give is called. store.ErrUnavailable.
func TakeTurn(ctx context.Context, l *Lifecycle) (give func(), err error) {
	if err := l.takeTurn(ctx); err != nil {
		return nil, err
	}
	return l.giveTurn, nil
}

// TakeFreshTurn is TakeTurn, followed by a fresh snapshot for an operator's
// request. The errors are those of barrier.Hooks.WhyNoKeys.
func TakeFreshTurn(ctx context.Context, l *Lifecycle) (give func(), err error) {
	give, err = TakeTurn(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := l.freshInTurn(ctx); err != nil {
		give()
		return nil, err
	}
	return give, nil
}

// poke asks for a refresh soon. It never blocks.
func (m *machine) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
