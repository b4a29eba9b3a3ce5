// Package memory keeps what was read from ZooKeeper or written to it, bounded in
// bytes, and remembers which records are likely to exist. It does not know how
// fresh an entry is: package zk drops what has changed, and decides whether an
// entry may be served.
package memory

import (
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"secretstore/store"
)

// Cache keeps entries by the ids of their keys. Make it with New.
//
// A read that was sent before a change may be answered after the change was
// reported. So each read begins with a ticket, and its answer is not kept if
// anything in the same slot was dropped since the ticket was drawn.
type Cache struct {
	entries *otter.Cache[store.ID, *Entry]
	slots   [4096]slot
}

type slot struct {
	mu  sync.Mutex    // held while an entry is put or dropped
	gen atomic.Uint64 // changed under mu
}

// entryOverhead is about what an entry costs besides its bytes: 80 of its own, 48
// of its node and 20 of the table, and what the bytes are rounded up by.
const entryOverhead = 160

// New returns an empty cache of at most about so many bytes. Close it.
func New(bytes int64) (*Cache, error) {
	entries, err := otter.New(&otter.Options[store.ID, *Entry]{
		MaximumWeight: uint64(bytes),
		Weigher: func(_ store.ID, e *Entry) uint32 {
			n := entryOverhead + len(e.Data)
			if e.names != nil {
				for _, name := range e.names.list {
					n += 16 + len(name)
				}
			}
			return uint32(n) // a reply is bounded well below
		},
		OnAtomicDeletion: func(ev otter.DeletionEvent[store.ID, *Entry]) { ev.Value.Left() },
	})
	if err != nil {
		return nil, err
	}
	return &Cache{entries: entries}, nil
}

// Get returns the entry of a key.
func (c *Cache) Get(d store.Digest) (*Entry, bool) {
	e, ok := c.entries.GetIfPresent(d.ID)
	if !ok || e.Rest != d.Rest {
		return nil, false
	}
	return e, true
}

func (c *Cache) slot(i store.ID) *slot { return &c.slots[uint64(i)%uint64(len(c.slots))] }

// Ticket is drawn before the read is sent whose answer is to be put.
func (c *Cache) Ticket(i store.ID) uint64 { return c.slot(i).gen.Load() }

// Put keeps an answer, unless anything in the same slot was dropped since the
// ticket was drawn.
func (c *Cache) Put(i store.ID, ticket uint64, e *Entry) (kept bool) {
	s := c.slot(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen.Load() != ticket {
		return false
	}
	c.entries.Set(i, e)
	return true
}

// Wrote keeps what this server has written. It drops the entry instead if
// anything in the same slot was dropped since the ticket was drawn: another server
// may have written after it.
func (c *Cache) Wrote(i store.ID, ticket uint64, e *Entry) {
	s := c.slot(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.gen.Add(1) - 1 // what was read before the write can no longer be put
	if last == ticket {
		c.entries.Set(i, e)
	} else {
		c.entries.Invalidate(i)
	}
}

// Drop removes an entry. No earlier ticket of it can be put.
func (c *Cache) Drop(i store.ID) {
	s := c.slot(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gen.Add(1)
	c.entries.Invalidate(i)
}

// Doubt makes the listings that were read before then count as changed, so that
// everyone who keeps one asks again. They stay in memory.
func (c *Cache) Doubt(then int64) {
	for i, e := range c.entries.All() {
		if e.names != nil && e.Read < then {
			c.renew(i, e)
		}
	}
}

// renew puts the same listing in the place of e, which thereby has changed.
func (c *Cache) renew(i store.ID, e *Entry) {
	s := c.slot(i)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := c.entries.GetIfPresent(i); ok && now == e {
		same := NewListing(e.Rest, e.Read, e.names.list, e.names.foreign)
		same.Doubted.Store(e.Doubted.Load())
		c.entries.Set(i, same)
	}
}

// Demote keeps all entries for outages alone: they were surely right until then,
// and a change may have been missed since. No earlier ticket can be put.
func (c *Cache) Demote(then int64) {
	c.outdate()
	for _, e := range c.entries.All() {
		e.Doubted.CompareAndSwap(0, max(1, then))
		e.Left()
	}
}

// outdate invalidates all tickets.
func (c *Cache) outdate() {
	for i := range c.slots {
		s := &c.slots[i]
		s.mu.Lock()
		s.gen.Add(1)
		s.mu.Unlock()
	}
}

// Flush removes all entries. No earlier ticket can be put.
func (c *Cache) Flush() {
	c.outdate()
	c.entries.InvalidateAll()
}

// Size returns how many entries there are, and about how many bytes they take.
func (c *Cache) Size() (entries int, bytes uint64) {
	return c.entries.EstimatedSize(), c.entries.WeightedSize()
}

// Close ends the goroutines of the cache.
func (c *Cache) Close() {
	c.entries.InvalidateAll()
	c.entries.StopAllGoroutines()
}
