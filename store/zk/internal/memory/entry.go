package memory

import (
	"sync/atomic"
	"time"

	"secretstore/store"
)

// Entry is one record or listing. There may be a hundred thousand of them: it
// keeps the digest of its key, because ids may collide and keys are long, and what
// only listings have is apart.
type Entry struct {
	Rest     uint64 // of the digest of the key
	Read     int64  // when the storage was asked, on the caller's clock
	Data     []byte // nil if the record did not exist
	Version  store.Version
	Revision store.Revision
	// Doubted is set once a change may have been missed: until when the entry was
	// surely what the storage held, on the caller's clock. 0 before. From then on
	// the entry is for outages alone.
	Doubted atomic.Int64
	names   *names // nil for a record
}

// names are those of a listing.
type names struct {
	list    []string
	foreign int // names that were left out; see store.Listing
	// changed is set when the listing leaves the memory, for whatever reason. It
	// is apart, so that a caller who keeps it does not keep the names.
	changed *atomic.Bool
}

// NewListing returns the entry of a listing, from which so many foreign names
// were left out.
func NewListing(rest uint64, read int64, list []string, foreign int) *Entry {
	return &Entry{Rest: rest, Read: read, names: &names{list, foreign, new(atomic.Bool)}}
}

// Missing says that e is of a record that did not exist.
func (e *Entry) Missing() bool { return e.Data == nil && e.names == nil }

// Node returns the record.
func (e *Entry) Node(age time.Duration) store.Node {
	return store.Node{Data: e.Data, Version: e.Version, Revision: e.Revision, Age: age}
}

// Listing returns the listing.
func (e *Entry) Listing(age time.Duration) store.Listing {
	return store.Listing{Names: e.names.list, Foreign: e.names.foreign, Age: age, Changed: e.names.changed}
}

// Left marks an entry that is not in memory, or no longer: a listing has changed
// for everyone who keeps it.
func (e *Entry) Left() {
	if e.names != nil {
		e.names.changed.Store(true)
	}
}
