package store

import (
	"crypto/sha256"
	"encoding/binary"
)

// ID identifies a record, or the listing below a key, in reports of changes. It is a
// hash, so that all have one size and reveal nothing without the key. It is not a
// secret. Two keys may share an ID, which costs a needless read. The lowest bit is
// always 0; a backend may use it.
type ID uint64

// RecordID returns the id of the record under key.
func RecordID(key Key) ID { return RecordDigest(key).ID }

// ListingID returns the id of the listing of what is directly below key.
func ListingID(key Key) ID { return ListingDigest(key).ID }

// Digest is an ID with the next 64 bits of the same hash. To find two keys with the
// same Digest takes some 2^63 tries, so it can replace a key that is too long to be
// kept.
type Digest struct {
	ID   ID
	Rest uint64
}

// RecordDigest returns the digest of the record under key.
func RecordDigest(key Key) Digest { return digest('r', key) }

// ListingDigest returns the digest of the listing of what is directly below key.
func ListingDigest(key Key) Digest { return digest('l', key) }

func digest(kind byte, key Key) Digest {
	var buf [1 + MaxKey]byte
	buf[0] = kind
	n := 1 + copy(buf[1:], key)
	sum := sha256.Sum256(buf[:n])
	return Digest{ID(binary.BigEndian.Uint64(sum[:8]) &^ 1), binary.BigEndian.Uint64(sum[8:16])}
}

// Changes says what has changed since the last one.
type Changes struct {
	// IDs are those of the records that were created, changed or deleted, and
	// of the listings that gained or lost a name. An ID may be reported without
	// need, or more than once. IDs belongs to the backend.
	IDs []ID
	// Missed says that there may have been changes that no IDs report: everything
	// may have changed.
	Missed bool
}
