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
		i := recordID("k")
		ticket := c.ticket(i)
		change(c, i)
		c.put(i, ticket, &entry{key: "k"})
		if _, ok := c.get(i, "k"); ok {
			t.Errorf("%s: kept", name)
		}
		c.put(i, c.ticket(i), &entry{key: "k"})
		if _, ok := c.get(i, "k"); !ok {
			t.Errorf("%s: an answer from after it is not kept", name)
		}
		change(c, i)
		if _, ok := c.get(i, "k"); ok {
			t.Errorf("%s: still there", name)
		}
	}
}

func TestAnotherKeyWithTheSameIDIsNotServed(t *testing.T) {
	c := newTestCache(t, 1<<20)
	i := recordID("k")
	c.put(i, c.ticket(i), &entry{key: "k"})
	if _, ok := c.get(i, "l"); ok {
		t.Error("served for another key")
	}
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	const limit = 1 << 20
	c := newTestCache(t, limit)
	for i := range 400 {
		key := fmt.Sprintf("k%d", i)
		c.put(recordID(key), c.ticket(recordID(key)), &entry{key: key, node: store.Node{Data: make([]byte, 20_000)}})
		key = fmt.Sprintf("l%d", i)
		c.put(listingID(key), c.ticket(listingID(key)), &entry{key: key, names: make([]string, 1000)})
	}
	c.entries.CleanUp()
	if got := c.entries.WeightedSize(); got > limit {
		t.Errorf("%d bytes kept, want at most %d", got, limit)
	}
}
