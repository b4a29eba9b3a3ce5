package seal

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"secretstore/seal/envelope"
	"secretstore/store"
)

// opened is all that a server knows only while it is unsealed. It is
// immutable; a change of the versions makes a copy that shares the keys.
type opened struct {
	uuid  string
	root  *envelope.Key
	ring  *keyring
	names *namer
	// seal is the id of the last seal when the keys were opened; see intent.
	seal string
	// The versions that every write transaction checks, so that a server that
	// has not heard of a seal or of a new keyring writes nothing.
	identityVersion store.Version
	intentVersion   store.Version
	keyringVersion  store.Version
}

func (o *opened) clear() {
	o.root.Clear()
	o.ring.clear()
	o.names.clear()
}

// openRecord decrypts a record that is kept under key, with the data key of its
// term. ErrCorrupt, which names the record; errUnknownTerm.
func (o *opened) openRecord(key store.Key, at envelope.Place, data []byte) ([]byte, envelope.Header, error) {
	claimed, err := envelope.ParseHeader(data)
	if err != nil {
		return nil, envelope.Header{}, corrupt(key, err)
	}
	dataKey := o.ring.terms[claimed.Term]
	if dataKey == nil {
		return nil, envelope.Header{}, fmt.Errorf("%s: %w", key, errUnknownTerm)
	}
	plain, header, err := envelope.Open(dataKey, at, data)
	if err != nil {
		return nil, envelope.Header{}, corrupt(key, err)
	}
	return plain, header, nil
}

// checks opens every write transaction; see writeChecks.
func (o *opened) checks() []store.Op {
	return append(make([]store.Op, 0, writeChecks+usualOps),
		store.Check(identityKey(o.uuid), o.identityVersion),
		store.Check(keyIntent, o.intentVersion),
		store.Check(keyKeyring, o.keyringVersion))
}

const (
	// writeChecks is how many operations checks puts in front.
	writeChecks = 3
	// usualOps is how many mostly follow.
	usualOps = 3
)

// barrier holds the keys. Everything that encrypts or decrypts runs inside use,
// and drop waits for it: once drop has returned, nothing is decrypted.
type barrier struct {
	mu    sync.RWMutex
	in    *opened // nil is sealed; guarded by mu
	drops uint64  // how often keys were dropped; guarded by mu
	// dropped, if set, is called after keys were dropped. It does not block.
	dropped func()
}

// use runs fn with the keys, or returns ErrSealed. fn does no I/O and keeps
// nothing of what it is given.
func (b *barrier) use(fn func(*opened) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.in == nil {
		return ErrSealed
	}
	return fn(b.in)
}

// isOpen reports whether the keys are in memory.
func (b *barrier) isOpen() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.in != nil
}

// dropCount is to be read before keys are fetched, and given to install.
func (b *barrier) dropCount() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.drops
}

// install puts the keys in place, unless drop was called since dropCount was
// read: a seal that arrives while an unseal is under way wins.
func (b *barrier) install(o *opened, drops uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drops != drops {
		o.clear()
		return false
	}
	if b.in != nil {
		b.in.clear()
	}
	b.in = o
	return true
}

// revise puts newer keys and versions in the place of seen, unless the keys were
// dropped or replaced meanwhile. Keys that are in only one of the two are
// overwritten where they are no longer needed.
func (b *barrier) revise(seen, revised *opened) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.in != seen {
		revised.clearExcept(b.in)
		return
	}
	seen.clearExcept(revised)
	b.in = revised
}

// discard overwrites keys that were made for a comparison only.
func (b *barrier) discard(o *opened) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if o != b.in {
		o.clearExcept(b.in)
	}
}

// clearExcept overwrites the keys of o that kept does not share. The namer is
// never replaced while the store is open.
func (o *opened) clearExcept(kept *opened) {
	inUse := make(map[*envelope.Key]bool)
	if kept != nil {
		inUse[kept.root], inUse[kept.ring.name] = true, true
		for _, key := range kept.ring.terms {
			inUse[key] = true
		}
	}
	for _, key := range append(slices.Collect(maps.Values(o.ring.terms)), o.root, o.ring.name) {
		if !inUse[key] {
			key.Clear()
		}
	}
}

// current returns the keys for comparison only: its owner is the barrier, and
// its keys must not be used outside use.
func (b *barrier) current() *opened {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.in
}

// drop forgets the keys and reports whether there were any.
func (b *barrier) drop() bool {
	b.mu.Lock()
	b.drops++
	open := b.in != nil
	if open {
		b.in.clear()
		b.in = nil
	}
	b.mu.Unlock()
	if open && b.dropped != nil {
		b.dropped()
	}
	return open
}
