// Package changes is the format of change records, by which servers learn what the
// others have written: each sets its own in every transaction, and has a watch on
// those of all others (package zk reads them).
package changes

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"

	"secretstore/store"
)

// Record is the data of ROOT/changes/NODE: what one server wrote last. As bytes:
//
//	magic (4) | nonce (8) | count (8) | ids (8 each)
//
// big endian.
//
// Anyone who can write there can lie, and make servers drop records from memory
// needlessly, or keep them; by writing to the records themselves they could do as
// much.
type Record struct {
	// Nonce is different in each attempt to write, so that the server can tell
	// which of its attempts took effect.
	Nonce uint64
	// Count is how many ids the server has published so far.
	Count uint64
	// IDs are the last of them, oldest first.
	IDs []store.ID
}

const (
	magic = "scl2"
	head  = 4 + 8 + 8
	// Ids are repeated for readers who are behind by some transactions: all of
	// the last recentFor, but at least minRecent and at most maxRecent of them.
	// Readers who are further behind doubt all that they have in memory. What is
	// repeated is part of every transaction: a thousand ids more than double what
	// a small write costs ZooKeeper.
	minRecent = 64
	maxRecent = 1024
	recentFor = 100_000_000 // ns
)

// MaxSize is the size of the largest Record in bytes.
const MaxSize = head + 8*maxRecent

// ErrRecord: data that is not a Record.
var ErrRecord = errors.New("not a change record")

// Quiet is the bit of an id that is set where the record is to be dropped from
// memory, but means what it did (store.Op.Quiet).
const Quiet store.ID = 1

// Loud returns the ids that are reported to the readers of store.Backend.Changes.
func Loud(ids []store.ID) []store.ID {
	return slices.DeleteFunc(slices.Clone(ids), func(i store.ID) bool { return i&Quiet != 0 })
}

const nameBytes = 16

// NewName names a change record, so that no two servers ever share one.
func NewName() string {
	var name [nameBytes]byte
	rand.Read(name[:])
	return hex.EncodeToString(name[:])
}

// IsName says whether NewName makes such names.
func IsName(name string) bool {
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == nameBytes && hex.EncodeToString(raw) == name
}

// Encode returns the record as bytes.
func (c Record) Encode() []byte {
	out := make([]byte, 0, head+8*len(c.IDs))
	out = append(out, magic...)
	out = binary.BigEndian.AppendUint64(out, c.Nonce)
	out = binary.BigEndian.AppendUint64(out, c.Count)
	for _, id := range c.IDs {
		out = binary.BigEndian.AppendUint64(out, uint64(id))
	}
	return out
}

// Parse accepts exactly what Encode writes. ErrRecord.
func Parse(data []byte) (Record, error) {
	if len(data) < head || string(data[:4]) != magic || (len(data)-head)%8 != 0 {
		return Record{}, ErrRecord
	}
	c := Record{Nonce: binary.BigEndian.Uint64(data[4:]), Count: binary.BigEndian.Uint64(data[12:])}
	n := (len(data) - head) / 8
	if n > maxRecent || uint64(n) > c.Count {
		return Record{}, ErrRecord
	}
	for i := range n {
		c.IDs = append(c.IDs, store.ID(binary.BigEndian.Uint64(data[head+8*i:])))
	}
	return c, nil
}

// Since returns the ids that were published after the first seen ones. It is not
// ok if some of them are no longer repeated.
func (c Record) Since(seen uint64) (ids []store.ID, ok bool) {
	if c.Count < seen || c.Count-seen > uint64(len(c.IDs)) {
		return nil, false
	}
	return c.IDs[uint64(len(c.IDs))-(c.Count-seen):], true
}

// Own is what this server publishes. Times are those of a monotonic clock in
// nanoseconds. It is for one goroutine.
type Own struct {
	nonce  uint64
	count  uint64
	recent []published
}

type published struct {
	id store.ID
	at int64
}

// Count returns how many ids were published.
func (o *Own) Count() uint64 { return o.count }

// Nonce returns that of the last record that Next made.
func (o *Own) Nonce() uint64 { return o.nonce }

// Next returns the record that also has ids. Nothing counts as published before
// Published is called.
func (o *Own) Next(ids []store.ID, now int64) Record {
	for len(o.recent) > minRecent && now-o.recent[0].at > recentFor {
		o.recent = o.recent[1:]
	}
	o.nonce++
	c := Record{Nonce: o.nonce, Count: o.count + uint64(len(ids)), IDs: make([]store.ID, 0, len(o.recent)+len(ids))}
	for _, p := range o.recent {
		c.IDs = append(c.IDs, p.id)
	}
	c.IDs = append(c.IDs, ids...)
	if over := len(c.IDs) - maxRecent; over > 0 {
		c.IDs = c.IDs[over:]
	}
	return c
}

// Published notes that a record with ids has been written.
func (o *Own) Published(ids []store.ID, now int64) {
	o.count += uint64(len(ids))
	for _, id := range ids {
		o.recent = append(o.recent, published{id, now})
	}
	if over := len(o.recent) - maxRecent; over > 0 {
		o.recent = o.recent[over:] // append makes room when it needs some, for more than one
	}
}
