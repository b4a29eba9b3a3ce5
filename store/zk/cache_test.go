package zk

import (
	"fmt"
	"testing"

	"secretstore/store"
)

func newTestCache(t *testing.T, bytes int64) *cache {
	t.Helper()
	c, err := newCache(bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func TestAnAnswerThatAChangeOvertookIsNotKept(t *testing.T) {
	for name, change := range map[string]func(*cache, id){
		"drop":  func(c *cache, i id) { c.drop(i) },
		"flush": func(c *cache, _ id) { c.flush() },
	} {
		c := newTestCache(t, 1<<20)
		d := store.RecordDigest("k")
		i := d.ID
		ticket := c.ticket(i)
		change(c, i)
		c.put(i, ticket, &entry{rest: d.Rest})
		if _, ok := c.get(d); ok {
			t.Errorf("%s: kept", name)
		}
		c.put(i, c.ticket(i), &entry{rest: d.Rest})
		if _, ok := c.get(d); !ok {
			t.Errorf("%s: an answer from after it is not kept", name)
		}
		change(c, i)
		if _, ok := c.get(d); ok {
			t.Errorf("%s: still there", name)
		}
	}
}

func TestAnotherKeyWithTheSameIDIsNotServed(t *testing.T) {
	c := newTestCache(t, 1<<20)
	d := store.RecordDigest("k")
	i := d.ID
	c.put(i, c.ticket(i), &entry{rest: d.Rest})
	if _, ok := c.get(store.Digest{ID: i, Rest: d.Rest + 1}); ok {
		t.Error("served for another key")
	}
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	const limit = 1 << 20
	c := newTestCache(t, limit)
	for i := range 400 {
		key := fmt.Sprintf("k%d", i)
		c.put(recordID(key), c.ticket(recordID(key)), &entry{data: make([]byte, 20_000)})
		key = fmt.Sprintf("l%d", i)
		c.put(listingID(key), c.ticket(listingID(key)), newListing(0, 0, make([]string, 1000)))
	}
	c.entries.CleanUp()
	if got := c.entries.WeightedSize(); got > limit {
		t.Errorf("%d bytes kept, want at most %d", got, limit)
	}
}

// TestWhatHasLeftTheMemoryIsNotCurrent, or nothing would tell when it changes.
func TestWhatHasLeftTheMemoryIsNotCurrent(t *testing.T) {
	d := store.ListingDigest("k")
	i := d.ID
	for name, leave := range map[string]func(*cache){
		"drop":    func(c *cache) { c.drop(i) },
		"flush":   func(c *cache) { c.flush() },
		"replace": func(c *cache) { c.put(i, c.ticket(i), newListing(d.Rest, 0, nil)) },
		"evict": func(c *cache) {
			c.entries.SetMaximum(1)
			c.entries.CleanUp()
		},
	} {
		c := newTestCache(t, 1<<20)
		e := newListing(d.Rest, 0, []string{"a"})
		c.put(i, c.ticket(i), e)
		list := e.listing(0)
		if !list.Current() {
			t.Errorf("%s: not current at first", name)
		}
		leave(c)
		if now, kept := c.get(d); kept && now == e {
			t.Fatalf("%s: still there: the test says nothing", name)
		}
		if list.Current() {
			t.Errorf("%s: still current", name)
		}
	}
	c := newTestCache(t, 1<<10)
	large := newListing(d.Rest, 0, make([]string, 1000))
	c.put(i, c.ticket(i), large)
	c.entries.CleanUp()
	if list := large.listing(0); list.Current() {
		t.Error("a listing that is too large to be kept is current")
	}
}

func TestAWriteIsKeptUnlessAChangeOvertookIt(t *testing.T) {
	c := newTestCache(t, 1<<20)
	d := store.RecordDigest("k")
	i := d.ID
	older := c.ticket(i) // of a read whose answer is from before the write
	ticket := c.ticket(i)
	written := &entry{rest: d.Rest}
	c.wrote(i, ticket, written)
	if c.put(i, older, &entry{rest: d.Rest}) {
		t.Error("an older answer was put over a write")
	}
	if e, ok := c.get(d); !ok || e != written {
		t.Error("the write was not kept")
	}
	ticket = c.ticket(i)
	c.drop(i) // another server has written
	c.wrote(i, ticket, written)
	if _, ok := c.get(d); ok {
		t.Error("kept, although another write may have come after it")
	}
	c.put(i, c.ticket(i), &entry{rest: d.Rest})
	c.wrote(i, ticket, written)
	if _, ok := c.get(d); ok {
		t.Error("what is kept may be older than the write, or newer: nobody knows")
	}
}

// TestWhatMayBeOldIsKeptForOutages: an answer that was asked for before is not,
// nobody takes a listing for current, and what is asked for afterwards counts.
func TestWhatMayBeOldIsKeptForOutages(t *testing.T) {
	c := newTestCache(t, 1<<20)
	d := store.ListingDigest("k")
	i := d.ID
	e := newListing(d.Rest, 0, []string{"a"})
	c.put(i, c.ticket(i), e)
	list, late := e.listing(0), c.ticket(recordID("late"))
	c.demote(7)
	c.demote(9)
	if kept, ok := c.get(d); !ok || kept.doubted.Load() != 7 || list.Current() {
		t.Errorf("kept %v, current %v", ok, list.Current())
	}
	c.doubt(1) // a listing that is put in its own place is no surer for it
	if kept, ok := c.get(d); !ok || kept.doubted.Load() != 7 {
		t.Errorf("put again: %v", ok)
	}
	if c.put(recordID("late"), late, &entry{}) {
		t.Error("an answer from before was put")
	}
	c.put(i, c.ticket(i), newListing(d.Rest, 0, []string{"b"}))
	if kept, ok := c.get(d); !ok || kept.doubted.Load() != 0 {
		t.Error("an answer from after it is not taken for right")
	}
}
