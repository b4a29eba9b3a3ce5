package memory

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"secretstore/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestCache(t *testing.T, bytes int64) *Cache {
	t.Helper()
	c, err := New(bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAnAnswerThatAChangeOvertookIsNotKept(t *testing.T) {
	for name, change := range map[string]func(*Cache, store.ID){
		"drop":  func(c *Cache, i store.ID) { c.Drop(i) },
		"flush": func(c *Cache, _ store.ID) { c.Flush() },
	} {
		c := newTestCache(t, 1<<20)
		d := store.RecordDigest("k")
		i := d.ID
		ticket := c.Ticket(i)
		change(c, i)
		c.Put(i, ticket, &Entry{Rest: d.Rest})
		if _, ok := c.Get(d); ok {
			t.Errorf("%s: kept", name)
		}
		c.Put(i, c.Ticket(i), &Entry{Rest: d.Rest})
		if _, ok := c.Get(d); !ok {
			t.Errorf("%s: an answer from after it is not kept", name)
		}
		change(c, i)
		if _, ok := c.Get(d); ok {
			t.Errorf("%s: still there", name)
		}
	}
}

func TestAnotherKeyWithTheSameIDIsNotServed(t *testing.T) {
	c := newTestCache(t, 1<<20)
	d := store.RecordDigest("k")
	i := d.ID
	c.Put(i, c.Ticket(i), &Entry{Rest: d.Rest})
	if _, ok := c.Get(store.Digest{ID: i, Rest: d.Rest + 1}); ok {
		t.Error("served for another key")
	}
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	const limit = 1 << 20
	c := newTestCache(t, limit)
	for i := range 400 {
		key := fmt.Sprintf("k%d", i)
		c.Put(store.RecordID(key), c.Ticket(store.RecordID(key)), &Entry{Data: make([]byte, 20_000)})
		key = fmt.Sprintf("l%d", i)
		c.Put(store.ListingID(key), c.Ticket(store.ListingID(key)), NewListing(0, 0, make([]string, 1000), 0))
	}
	c.entries.CleanUp()
	if got := c.entries.WeightedSize(); got > limit {
		t.Errorf("%d bytes kept, want at most %d", got, limit)
	}
}

// TestAListingThatLeftTheMemoryIsNotCurrent: nothing would report when it changes.
func TestAListingThatLeftTheMemoryIsNotCurrent(t *testing.T) {
	d := store.ListingDigest("k")
	i := d.ID
	for name, leave := range map[string]func(*Cache){
		"drop":    func(c *Cache) { c.Drop(i) },
		"flush":   func(c *Cache) { c.Flush() },
		"replace": func(c *Cache) { c.Put(i, c.Ticket(i), NewListing(d.Rest, 0, nil, 0)) },
		"evict": func(c *Cache) {
			c.entries.SetMaximum(1)
			c.entries.CleanUp()
		},
	} {
		c := newTestCache(t, 1<<20)
		e := NewListing(d.Rest, 0, []string{"a"}, 0)
		c.Put(i, c.Ticket(i), e)
		list := e.Listing(0)
		if !list.Current() {
			t.Errorf("%s: not current at first", name)
		}
		leave(c)
		if now, kept := c.Get(d); kept && now == e {
			t.Fatalf("%s: still there: the test says nothing", name)
		}
		if list.Current() {
			t.Errorf("%s: still current", name)
		}
	}
	c := newTestCache(t, 1<<10)
	large := NewListing(d.Rest, 0, make([]string, 1000), 0)
	c.Put(i, c.Ticket(i), large)
	c.entries.CleanUp()
	if list := large.Listing(0); list.Current() {
		t.Error("a listing that is too large to be kept is current")
	}
}

func TestAWriteIsKeptUnlessAChangeOvertookIt(t *testing.T) {
	c := newTestCache(t, 1<<20)
	d := store.RecordDigest("k")
	i := d.ID
	older := c.Ticket(i) // of a read whose answer is from before the write
	ticket := c.Ticket(i)
	written := &Entry{Rest: d.Rest}
	c.Wrote(i, ticket, written)
	if c.Put(i, older, &Entry{Rest: d.Rest}) {
		t.Error("an older answer was put over a write")
	}
	if e, ok := c.Get(d); !ok || e != written {
		t.Error("the write was not kept")
	}
	ticket = c.Ticket(i)
	c.Drop(i) // another server has written
	c.Wrote(i, ticket, written)
	if _, ok := c.Get(d); ok {
		t.Error("kept, although another write may have come after it")
	}
	c.Put(i, c.Ticket(i), &Entry{Rest: d.Rest})
	c.Wrote(i, ticket, written)
	if _, ok := c.Get(d); ok {
		t.Error("what is kept may be older than the write, or newer")
	}
}

// TestDoubtfulEntriesAreKeptForOutages: an answer that was asked for before is not,
// no listing is current, and an answer to a later read counts.
func TestDoubtfulEntriesAreKeptForOutages(t *testing.T) {
	c := newTestCache(t, 1<<20)
	d := store.ListingDigest("k")
	i := d.ID
	e := NewListing(d.Rest, 0, []string{"a"}, 0)
	c.Put(i, c.Ticket(i), e)
	list, late := e.Listing(0), c.Ticket(store.RecordID("late"))
	c.Demote(7)
	c.Demote(9)
	if kept, ok := c.Get(d); !ok || kept.Doubted.Load() != 7 || list.Current() {
		t.Errorf("kept %v, current %v", ok, list.Current())
	}
	c.Doubt(1) // a renewed listing is as doubtful as before
	if kept, ok := c.Get(d); !ok || kept.Doubted.Load() != 7 {
		t.Errorf("put again: %v", ok)
	}
	if c.Put(store.RecordID("late"), late, &Entry{}) {
		t.Error("an answer from before was put")
	}
	c.Put(i, c.Ticket(i), NewListing(d.Rest, 0, []string{"b"}, 0))
	if kept, ok := c.Get(d); !ok || kept.Doubted.Load() != 0 {
		t.Error("an answer from after it is not taken for right")
	}
}
