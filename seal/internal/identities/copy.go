package identities

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"slices"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Copy takes the records of the identities out of a snapshot of the storage, for
// another storage, and leaves some of them out. The indexes and the head are written
// again, so that they agree with what is left.
type Copy struct {
	barrier *barrier.Barrier
	leave   func(name string) bool
	put     func(key store.Key, data []byte) error

	head    []byte
	indexes map[byte][]byte
	left    map[barrier.IAMName]bool
}

// NewCopy returns a Copy that gives records to put, but for those whose names leave
// is true of.
func NewCopy(b *barrier.Barrier, leave func(name string) bool, put func(key store.Key, data []byte) error) *Copy {
	return &Copy{barrier: b, leave: leave, put: put, indexes: make(map[byte][]byte), left: make(map[barrier.IAMName]bool)}
}

// Take takes a record that is below barrier.KeyIAM, or without data that there is
// none under the key. Of several calls for one key the last counts.
func (c *Copy) Take(key store.Key, data []byte) error {
	if key == barrier.KeyIAM {
		c.head = bytes.Clone(data)
		return nil
	}
	bucket, name, ok := parseKey(key)
	if !ok {
		return c.put(key, data) // not ours
	}
	if name == nil {
		c.indexes[bucket] = bytes.Clone(data)
		return nil
	}
	delete(c.left, *name)
	if len(data) > 0 && c.isLeft(*name, data) {
		c.left[*name] = true
		data = nil
	}
	return c.put(key, data)
}

// isLeft reports whether a record is to be left out. One that does not open is not.
func (c *Copy) isLeft(name barrier.IAMName, data []byte) bool {
	left := false
	_ = c.barrier.Use(func(k *barrier.Keys) error { // an error means sealed
		key := recordKey(name)
		plain, _, err := k.Open(key, k.IAMPlace(key), data)
		if err != nil {
			return err
		}
		defer clear(plain)
		r, err := decodeRecord(plain)
		left = err == nil && c.leave(r.Name)
		return err
	})
	return left
}

// End gives the indexes and the head to put. Those that are not genuine stay as they
// are.
func (c *Copy) End() error {
	if c.head == nil && len(c.indexes) == 0 {
		return nil // there are none
	}
	err := c.barrier.Use(func(k *barrier.Keys) error {
		h, err := openHead(c.head, k.UUID, k.Root)
		if err != nil {
			return nil
		}
		for i, data := range c.indexes {
			if rest := c.withoutLeft(i, data, h.indexes[i]); rest != nil {
				c.indexes[i], h.indexes[i] = rest, sha256.Sum256(rest)
			}
		}
		c.head = h.encode(k.UUID, k.Root)
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range slices.Sorted(maps.Keys(c.indexes)) {
		if err := c.put(indexKey(i), c.indexes[i]); err != nil {
			return err
		}
	}
	return c.put(barrier.KeyIAM, c.head)
}

// withoutLeft returns the index of a bucket without what is left out; nil if it is
// not the one that the head names.
func (c *Copy) withoutLeft(bucket byte, data []byte, want digest) []byte {
	x, err := parseIndex(data)
	if err != nil || sha256.Sum256(data) != want {
		return nil
	}
	for name := range c.left {
		if name[0] == bucket {
			delete(x, name)
		}
	}
	return x.encode()
}
