package zk

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"secretstore/store"
)

// A change record is the data of ROOT/changes/NODE: what a server wrote last. It
// is set in each write transaction, so that all other servers learn from a watch on it which
// records to drop from memory:
//
//	magic (4) | nonce (8) | count (8) | ids (8 each)
//
// big endian. count is how many ids the server has published so far, ids are
// the last of them, oldest first; the lowest bit of one is set where the record
// is to be dropped from memory but means what it did (store.Op.Quiet). nonce is
// different in each attempt to write, so that the server can recognise which of
// its attempts took effect.
//
// Whoever can write there can lie, and makes others drop records from memory
// in vain, or keep them; by writing to the records themselves they could do
// as much.
const (
	changeMagic = "scl2"
	changeHead  = 4 + 8 + 8
	// Ids are repeated for readers who are behind by some transactions: all of
	// the last recentFor, but at least minRecent and at most maxRecent of them.
	// Readers who are further behind doubt all that they have in memory. What is repeated is part
	// of every transaction: a thousand ids more than double what a small write
	// costs ZooKeeper.
	minRecent = 64
	maxRecent = 1024
	recentFor = 100 * time.Millisecond
)

var errChange = errors.New("not a change record")

// id is also the key of the memory.
type id = store.ID

func recordID(key store.Key) id  { return store.RecordID(key) }
func listingID(key store.Key) id { return store.ListingID(key) }

// quiet is the bit of an id that only drops from memory.
const quiet id = 1

// loud returns those of ids that watchers are told of.
func loud(ids []id) []id {
	return slices.DeleteFunc(slices.Clone(ids), func(i id) bool { return i&quiet != 0 })
}

// newOwnName names a change record, so that no two servers ever share one.
func newOwnName() string {
	var name [ownNameBytes]byte
	rand.Read(name[:])
	return hex.EncodeToString(name[:])
}

const ownNameBytes = 16

// isOwnName says whether newOwnName makes such names. Nothing else in
// ROOT/changes is looked at.
func isOwnName(name string) bool {
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == ownNameBytes && hex.EncodeToString(raw) == name
}

// change is a parsed change record.
type change struct {
	nonce, count uint64
	ids          []id
}

func (c change) encode() []byte {
	out := make([]byte, 0, changeHead+8*len(c.ids))
	out = append(out, changeMagic...)
	out = binary.BigEndian.AppendUint64(out, c.nonce)
	out = binary.BigEndian.AppendUint64(out, c.count)
	for _, id := range c.ids {
		out = binary.BigEndian.AppendUint64(out, uint64(id))
	}
	return out
}

// parseChange accepts exactly what encode writes.
func parseChange(data []byte) (change, error) {
	if len(data) < changeHead || string(data[:4]) != changeMagic || (len(data)-changeHead)%8 != 0 {
		return change{}, errChange
	}
	c := change{nonce: binary.BigEndian.Uint64(data[4:]), count: binary.BigEndian.Uint64(data[12:])}
	n := (len(data) - changeHead) / 8
	if n > maxRecent || uint64(n) > c.count {
		return change{}, errChange
	}
	for i := range n {
		c.ids = append(c.ids, id(binary.BigEndian.Uint64(data[changeHead+8*i:])))
	}
	return c, nil
}

// since returns the ids that were published after the first seen ones. It is
// not ok if some of them are no longer told.
func (c change) since(seen uint64) (ids []id, ok bool) {
	if c.count < seen || c.count-seen > uint64(len(c.ids)) {
		return nil, false
	}
	return c.ids[uint64(len(c.ids))-(c.count-seen):], true
}

// ownChanges is what this server publishes. It belongs to the committer.
type ownChanges struct {
	path    string // of the znode; "" before there is one
	exists  bool   // the znode is known to be there, at version
	version int32
	nonce   uint64
	count   uint64
	recent  []publishedID
}

type publishedID struct {
	id id
	at int64 // ns after clockBase; there are a thousand, which the garbage collector need not look at
}

// next returns the change record that also tells of ids. Nothing is published
// until published is called.
func (o *ownChanges) next(ids []id, now time.Time) change {
	for len(o.recent) > minRecent && now.Sub(clockBase)-time.Duration(o.recent[0].at) > recentFor {
		o.recent = o.recent[1:]
	}
	o.nonce++
	c := change{nonce: o.nonce, count: o.count + uint64(len(ids)), ids: make([]id, 0, len(o.recent)+len(ids))}
	for _, p := range o.recent {
		c.ids = append(c.ids, p.id)
	}
	c.ids = append(c.ids, ids...)
	if over := len(c.ids) - maxRecent; over > 0 {
		c.ids = c.ids[over:]
	}
	return c
}

// published notes that a record with ids has been written over the version
// before.
func (o *ownChanges) published(ids []id, now time.Time) {
	o.version++
	o.count += uint64(len(ids))
	for _, id := range ids {
		o.recent = append(o.recent, publishedID{id, now.Sub(clockBase).Nanoseconds()})
	}
	if over := len(o.recent) - maxRecent; over > 0 {
		o.recent = o.recent[over:] // append makes room when it needs some, for more than one
	}
}
