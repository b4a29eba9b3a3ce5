package barrier

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/store"
)

// Barrier holds the keys while the store is unsealed. It has many methods because
// everything that uses, changes or asks about the keys goes through it, and only it has
// them.
type Barrier struct {
	backend store.Backend
	// exclusive: no other server can have the storage open.
	exclusive bool
	// offline: see New.
	offline bool
	hooks   Hooks
	damage  *Damage

	mu     sync.RWMutex
	keys   *Keys    // nil is sealed; guarded by mu
	drops  uint64   // how often keys were dropped; guarded by mu
	opened uint64   // how often keys were put in place; guarded by mu
	onDrop []func() // set before the first use
	onOpen []func() // set before the first use
}

// Hooks are what the barrier needs of the life cycle.
type Hooks struct {
	// Refresh reads a fresh snapshot of the life cycle and applies it.
	// store.ErrUnavailable.
	Refresh func(context.Context) error
	// WhyNoKeys returns why there is nothing to unseal or to read, or nil.
	WhyNoKeys func() error
}

// New returns a sealed barrier over a backend. An offline one is for reading
// without a server: the seal intent is neither followed nor checked. log names
// damaged records.
func New(backend store.Backend, offline bool, log *zap.Logger) *Barrier {
	e, ok := backend.(store.Exclusive)
	b := &Barrier{backend: backend, exclusive: ok && e.Exclusive(), offline: offline, damage: newDamage(log)}
	b.OnDrop(b.damage.forget)
	return b
}

// Damage returns what readers have skipped since the store was unsealed.
func (b *Barrier) Damage() *Damage { return b.damage }

// SetHooks is to be called before the first use.
func (b *Barrier) SetHooks(h Hooks) { b.hooks = h }

// OnDrop registers clear, to be called whenever keys are dropped: it forgets what was
// decrypted with them, and wakes those who have to learn of the seal. It must
// not block, nor call the barrier: it runs before Drop returns, while nothing
// is inside Use. OnDrop is to be called before the first use.
func (b *Barrier) OnDrop(clear func()) { b.onDrop = append(b.onDrop, clear) }

// OnOpen registers notify, to be called whenever keys were put in place. It must not
// block, nor call the barrier. OnOpen is to be called before the first use.
func (b *Barrier) OnOpen(notify func()) { b.onOpen = append(b.onOpen, notify) }

// Exclusive reports that no other server can have the storage open.
func (b *Barrier) Exclusive() bool { return b.exclusive }

// Offline reports that the store is only read, without a server; see New.
func (b *Barrier) Offline() bool { return b.offline }

// Use runs fn with the keys. fn does no I/O and keeps nothing of what it is
// given. If there are no keys, the error says why: ErrSealed, ErrUninitialized,
// ErrDamaged, store.ErrUnavailable.
func (b *Barrier) Use(fn func(*Keys) error) error {
	err := b.use(fn)
	if errors.Is(err, ErrSealed) {
		if reason := b.hooks.WhyNoKeys(); reason != nil {
			return reason
		}
	}
	return err
}

func (b *Barrier) use(fn func(*Keys) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.keys == nil {
		return ErrSealed
	}
	return fn(b.keys)
}

// Ready is Use of nothing: nil while the store is unsealed.
func (b *Barrier) Ready() error { return b.Use(func(*Keys) error { return nil }) }

// IsOpen reports whether the keys are in memory.
func (b *Barrier) IsOpen() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.keys != nil
}

// DropCount is to be read before keys are fetched, and given to Install.
func (b *Barrier) DropCount() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.drops
}

// OpenCount returns how often keys were put in place.
func (b *Barrier) OpenCount() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.opened
}

// Install puts the keys in place, unless Drop was called since DropCount was
// read: a seal that arrives during an unseal wins.
func (b *Barrier) Install(k *Keys, drops uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drops != drops {
		k.Clear()
		return false
	}
	b.clearLocked()
	b.keys = k
	b.opened++
	for _, notify := range b.onOpen {
		notify()
	}
	return true
}

// Revise replaces seen by newer keys and versions, unless the keys were dropped
// or replaced meanwhile. Keys that only one of the two has are overwritten once
// they are no longer needed.
func (b *Barrier) Revise(seen, revised *Keys) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keys != seen {
		revised.clearExcept(b.keys)
		return
	}
	seen.clearExcept(revised)
	b.keys = revised
}

// Discard overwrites keys that were made only for a comparison.
func (b *Barrier) Discard(k *Keys) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if k != b.keys {
		k.clearExcept(b.keys)
	}
}

// Drop forgets the keys and reports whether there were any.
func (b *Barrier) Drop() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drops++
	return b.clearLocked()
}

func (b *Barrier) clearLocked() bool {
	if b.keys == nil {
		return false
	}
	b.keys.Clear()
	b.keys = nil
	for _, clear := range b.onDrop {
		clear()
	}
	return true
}

var errRoot = errors.New("internal error: the root is not a secret")

// Locate returns where a secret is stored.
func (b *Barrier) Locate(p acl.Path) (at Location, err error) {
	if p.IsRoot() {
		return Location{}, errRoot
	}
	err = b.Use(func(k *Keys) error {
		at, err = k.Locate(p)
		return err
	})
	return at, err
}
