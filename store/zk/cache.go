package zk

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"secretstore/store"
)

// cache keeps what was read, bounded in bytes. It says nothing about how fresh
// that is: the feed drops what has changed.
//
// A read that was sent before a change may be answered, and be put here, after
// the change was told. So each fill begins with a ticket, and is dropped if
// anything with the same slot was dropped since the ticket was drawn.
type cache struct {
	entries *otter.Cache[id, *entry]
	slots   [4096]slot
}

type slot struct {
	mu  sync.Mutex    // held while an entry is put or dropped
	gen atomic.Uint64 // changed under mu
}

// entry is one record or listing. There may be a hundred thousand of them: it
// keeps the digest of its key, for ids may collide and keys are long, and what
// only listings have is apart.
type entry struct {
	rest     uint64 // of the digest
	read     int64  // when the storage was asked, ns after clockBase
	data     []byte // nil if the record did not exist: one with empty data is none
	version  store.Version
	revision store.Revision
	// doubted is, once a change may have been missed, until when e was surely what
	// the storage held, ns after clockBase; 0 before. Then it is for outages alone.
	doubted atomic.Int64
	names   *names // nil for a record
}

// names are those of a listing.
type names struct {
	list []string
	// changed is set when the listing leaves the memory, for whatever reason. It
	// is apart, so that who keeps it does not keep the names.
	changed *atomic.Bool
}

func newListing(rest uint64, read int64, list []string) *entry {
	return &entry{rest: rest, read: read, names: &names{list, new(atomic.Bool)}}
}

// missing says that e is of a record that did not exist.
func (e *entry) missing() bool { return e.data == nil && e.names == nil }

func (e *entry) node(age time.Duration) store.Node {
	return store.Node{Data: e.data, Version: e.version, Revision: e.revision, Age: age}
}

func (e *entry) listing(age time.Duration) store.Listing {
	return store.Listing{Names: e.names.list, Age: age, Changed: e.names.changed}
}

// left says that e is not in memory, or no longer.
func (e *entry) left() {
	if e.names != nil {
		e.names.changed.Store(true)
	}
}

// entryOverhead is about what an entry costs besides its bytes: 80 of its own, 48
// of its node and 20 of the table, and what the bytes are rounded up by.
const entryOverhead = 160

func newCache(bytes int64) (*cache, error) {
	entries, err := otter.New(&otter.Options[id, *entry]{
		MaximumWeight: uint64(bytes),
		Weigher: func(_ id, e *entry) uint32 {
			n := entryOverhead + len(e.data)
			if e.names != nil {
				for _, name := range e.names.list {
					n += 16 + len(name)
				}
			}
			return uint32(n) // a reply has at most maxReply bytes
		},
		OnAtomicDeletion: func(ev otter.DeletionEvent[id, *entry]) { ev.Value.left() },
	})
	if err != nil {
		return nil, err
	}
	return &cache{entries: entries}, nil
}

func (c *cache) get(d store.Digest) (*entry, bool) {
	e, ok := c.entries.GetIfPresent(d.ID)
	if !ok || e.rest != d.Rest {
		return nil, false
	}
	return e, true
}

func (c *cache) slot(i id) *slot { return &c.slots[uint64(i)%uint64(len(c.slots))] }

// ticket is drawn before the read is sent whose answer is to be put.
func (c *cache) ticket(i id) uint64 { return c.slot(i).gen.Load() }

func (c *cache) put(i id, ticket uint64, e *entry) (kept bool) {
	s := c.slot(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen.Load() != ticket {
		return false
	}
	c.entries.Set(i, e)
	return true
}

// wrote puts what has been written by this server. It drops it instead if
// anything with the same slot was dropped since the ticket was drawn: another
// server may have written after it.
func (c *cache) wrote(i id, ticket uint64, e *entry) {
	s := c.slot(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.gen.Add(1) - 1 // what was read before the write is not put any more
	if last == ticket {
		c.entries.Set(i, e)
	} else {
		c.entries.Invalidate(i)
	}
}

func (c *cache) drop(i id) {
	s := c.slot(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen.Add(1)
	c.entries.Invalidate(i)
}

// doubt has those who keep a listing that was read before then ask for it again.
// It stays in memory.
func (c *cache) doubt(then int64) {
	for i, e := range c.entries.All() {
		if e.names != nil && e.read < then {
			c.renew(i, e)
		}
	}
}

// renew puts the same listing in the place of e, which thereby has changed.
func (c *cache) renew(i id, e *entry) {
	s := c.slot(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := c.entries.GetIfPresent(i); ok && now == e {
		same := newListing(e.rest, e.read, e.names.list)
		same.doubted.Store(e.doubted.Load())
		c.entries.Set(i, same)
	}
}

// demote keeps everything, which was surely right until then, for outages alone:
// a change may have been missed since. No earlier ticket can be put any more.
func (c *cache) demote(then int64) {
	c.outdate()
	for _, e := range c.entries.All() {
		e.doubted.CompareAndSwap(0, max(1, then))
		e.left() // those who keep a listing have to ask
	}
}

// outdate keeps what was asked for before now from being put.
func (c *cache) outdate() {
	for i := range c.slots {
		s := &c.slots[i]
		s.mu.Lock()
		s.gen.Add(1)
		s.mu.Unlock()
	}
}

// flush drops everything. No earlier ticket can be put any more.
func (c *cache) flush() {
	c.outdate()
	c.entries.InvalidateAll()
}

func (c *cache) close() {
	c.entries.InvalidateAll()
	c.entries.StopAllGoroutines()
}
