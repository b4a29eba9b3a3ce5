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
func RecordID(key Key) ID { return hashID('r', key) }

// ListingID returns the id of the listing of what is directly below key.
func ListingID(key Key) ID { return hashID('l', key) }

func hashID(kind byte, key Key) ID {
	var buf [1 + MaxKey]byte
	buf[0] = kind
	n := 1 + copy(buf[1:], key)
	sum := sha256.Sum256(buf[:n])
	return ID(binary.BigEndian.Uint64(sum[:8]) &^ 1)
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
