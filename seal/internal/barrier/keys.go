package barrier

import (
	"maps"
	"slices"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/handover"
	"secretstore/store"
)

// Keys is all that a server knows only while it is unsealed. It is immutable; a
// change of the versions makes a copy that shares the keys.
type Keys struct {
	UUID string // of the store
	Root *envelope.Key
	Ring *Keyring
	// Handover is what a new root key is handed over to; see package handover.
	// Each root key has another.
	Handover *handover.Key
	// LastSeal is the id of the last seal at the time when the keys were opened;
	// see package lifecycle.
	LastSeal string
	// The versions that every write transaction checks, so that a server that
	// does not know yet of a seal or of a new keyring writes nothing.
	IdentityVersion store.Version
	IntentVersion   store.Version
	KeyringVersion  store.Version

	// locator is never replaced while the store is unsealed, nor by a rotation or
	// a rekey: a path has one location for the life of the store.
	locator *locator
}

// NewKeys returns the keys of a store. They belong to the Barrier once they are
// installed.
func NewKeys(uuid string, root *envelope.Key, ring *Keyring) (*Keys, error) {
	locator, err := newLocator(ring.Name, uuid)
	if err != nil {
		return nil, err
	}
	return &Keys{UUID: uuid, Root: root, Ring: ring, Handover: handover.NewKey(), locator: locator}, nil
}

// Clear overwrites the keys, best effort.
func (k *Keys) Clear() {
	k.Root.Clear()
	k.Ring.Clear()
	k.Handover.Clear()
	k.locator.clear()
}

// clearExcept overwrites the keys of k that kept does not share.
func (k *Keys) clearExcept(kept *Keys) {
	inUse := make(map[*envelope.Key]bool)
	if kept != nil {
		inUse[kept.Root], inUse[kept.Ring.Name] = true, true
		for _, key := range kept.Ring.Terms {
			inUse[key] = true
		}
	}
	for _, key := range append(slices.Collect(maps.Values(k.Ring.Terms)), k.Root, k.Ring.Name) {
		if !inUse[key] {
			key.Clear()
		}
	}
	if kept == nil || kept.Handover != k.Handover {
		k.Handover.Clear()
	}
}

// RootPin identifies the root key without revealing it.
func (k *Keys) RootPin() []byte { return RootPin(k.UUID, k.Root) }

// RootPin identifies a root key of the store with this uuid.
func RootPin(uuid string, root *envelope.Key) []byte {
	return root.Derive("secretstore root pin\x00"+uuid, envelope.KeySize)
}

// Open decrypts the record under key with the data key of its term. ErrCorrupt,
// which names the record; ErrUnknownTerm.
func (k *Keys) Open(key store.Key, at envelope.Place, data []byte) ([]byte, envelope.Header, error) {
	claimed, err := envelope.ParseHeader(data)
	if err != nil {
		return nil, envelope.Header{}, Corrupt(key, err)
	}
	dataKey := k.Ring.Terms[claimed.Term]
	if dataKey == nil {
		return nil, envelope.Header{}, &unknownTerm{key}
	}
	plain, header, err := envelope.Open(dataKey, at, data)
	if err != nil {
		return nil, envelope.Header{}, Corrupt(key, err)
	}
	return plain, header, nil
}

// Seal encrypts plain for a place under the active term.
func (k *Keys) Seal(at envelope.Place, h envelope.Header, plain []byte) []byte {
	return k.SealSpace(at, h, append(envelope.Space(len(plain)), plain...))
}

// SealSpace is Seal of what was appended to an envelope.Space, which becomes
// the record.
func (k *Keys) SealSpace(at envelope.Place, h envelope.Header, space []byte) []byte {
	h.Kind, h.Term = at.Kind, k.Ring.Active
	return envelope.SealSpace(k.Ring.Terms[h.Term], at, h, space)
}

// Reseal encrypts a record again under the active term. It returns nil data if
// the record is under that term already. The value id and the version stay: a
// rotation must not look like a change.
func (k *Keys) Reseal(key store.Key, at envelope.Place, data []byte) ([]byte, error) {
	plain, h, err := k.Open(key, at, data)
	if err != nil || h.Term == k.Ring.Active {
		return nil, err
	}
	defer clear(plain)
	return k.Seal(at, h, plain), nil
}

// Locate returns where the secret at p is stored.
func (k *Keys) Locate(p acl.Path) (Location, error) { return k.locator.locate(p) }

// IAMName is the keyed hash under which a record of the identities is kept.
type IAMName [folderIDSize]byte

// IAMName returns the hash of the name of a record. Hashes of identities and of
// folders are made with different keys.
func (k *Keys) IAMName(name string) IAMName { return k.locator.hash(k.locator.iamKey, name) }

// OpenName returns the name of a secret, given the id of its folder and the
// last component of its key.
func (k *Keys) OpenName(folderID, component string) (string, error) {
	return k.locator.openName(folderID, component)
}

// SealFolder returns the record of the folder at a path.
func (k *Keys) SealFolder(path string) ([]byte, error) {
	return k.locator.sealFolder(path)
}

// OpenFolder returns the path of a folder, given its id and its record.
func (k *Keys) OpenFolder(id string, data []byte) (string, error) {
	return k.locator.openFolder(id, data)
}

// checks are the first operations of every write transaction; see writeChecks.
func (k *Keys) checks() []store.Op {
	return append(make([]store.Op, 0, writeChecks+usualOps),
		store.Check(IdentityKey(k.UUID), k.IdentityVersion),
		store.Check(KeyIntent, k.IntentVersion),
		store.Check(KeyKeyring, k.KeyringVersion))
}

const (
	// writeChecks is how many operations checks returns.
	writeChecks = 3
	// usualOps is how many usually follow.
	usualOps = 3
)
