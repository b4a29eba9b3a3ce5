package store

import (
	"crypto/sha256"
	"encoding/binary"
)

// ID stands for a record, or for the listing below a key, wherever it is told
// what has changed: a hash, so that the news has one size and says nothing to
// who does not know the key. It is not a secret. That two keys share one is
// possible and costs a look in vain. The lowest bit is always 0 and free for
// whoever passes ids on.
type ID uint64

// RecordID returns the id of the record under key.
func RecordID(key Key) ID { return RecordDigest(key).ID }

// ListingID returns the id of the listing of what is directly below key.
func ListingID(key Key) ID { return ListingDigest(key).ID }

// Digest is an ID with the next 64 bits of the same hash. Two keys with one
// Digest are not to be found (it takes some 2^63 tries), so it stands for the
// key where that is too long to be kept.
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

// Changes is word of what has changed since the last one.
type Changes struct {
	// IDs are those of the records that were created, changed or deleted, and
	// of the listings that gained or lost a name. One may be told in vain, or
	// more than once. IDs belongs to the backend.
	IDs []ID
	// Missed says that there may have been changes which are told in no IDs:
	// everything may be different.
	Missed bool
}
