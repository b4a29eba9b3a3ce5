//go:build zookeeper

package zk

import (
	"fmt"
	"sync"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/memory"
)

// fromMemory is what replaceInMemory puts in the place of a record.
const fromMemory = "from memory"

// replaceInMemory puts other data into the memory in the place of what the record
// holds, so that a read shows where it was answered from.
func replaceInMemory(t *testing.T, b *Backend, key store.Key) *memory.Entry {
	t.Helper()
	d := store.RecordDigest(key)
	e, ok := b.cache.entries.Get(d)
	if !ok {
		t.Fatalf("%s is not in memory", key)
	}
	other := &memory.Entry{Rest: e.Rest, Read: e.Read, Version: e.Version, Data: []byte(fromMemory)}
	b.cache.entries.Put(d.ID, b.cache.entries.Ticket(d.ID), other)
	return other
}

// awaitFollowed waits until the changes so far have been followed.
func awaitFollowed(t *testing.T, b *Backend) *connection {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if c, _ := b.conns.now(); c != nil && c.fired.allFollowed() {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal("changes are not followed")
		}
	}
}

func readLatest(t *testing.T, b *Backend, key store.Key) string {
	t.Helper()
	n, err := b.Get(t.Context(), key, store.Latest)
	if err != nil {
		return err.Error()
	}
	return string(n.Data)
}

func TestLinearizableReadIsAnsweredFromMemoryOnlyIfConfirmed(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	for i := range 3 {
		if _, err := b.Apply(t.Context(), store.Create(fmt.Sprint("k", i), []byte("stored"))); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	byHand := func(do func(c *zkc.Conn) error) {
		t.Helper()
		if _, err := readOn(t.Context(), b.conns, plain, func(c *zkc.Conn) (struct{}, error) { return struct{}{}, do(c) }); err != nil {
			t.Fatal(err)
		}
	}
	c := awaitFollowed(t, b)
	replaceInMemory(t, b, "k0")
	expect("in memory", readLatest(t, b, "k0"), fromMemory)

	c.fired.take() // and not done yet
	expect("while a change is being followed", readLatest(t, b, "k0"), "stored")
	c.fired.done()

	replaceInMemory(t, b, "k0").Doubted.Store(1)
	expect("when changes may have been missed", readLatest(t, b, "k0"), "stored")

	replaceInMemory(t, b, "k0").Read -= int64(b.cache.recheckAfter)
	expect("long in memory", readLatest(t, b, "k0"), "stored")

	replaceInMemory(t, b, "k0")
	replaceInMemory(t, b, "k1")
	byHand(func(c *zkc.Conn) error { _, err := c.Set(b.tree.Path("k0"), []byte("by hand"), -1); return err })
	byHand(func(c *zkc.Conn) error { return c.Delete(b.tree.Path("k2"), -1) })
	answers := make([]string, 3)
	var reads sync.WaitGroup
	for i := range answers {
		reads.Go(func() { answers[i] = readLatest(t, b, fmt.Sprint("k", i)) })
	}
	reads.Wait()
	expect("set by hand", answers[0], "by hand")
	expect("beside others that have changed", answers[1], fromMemory)
	expect("deleted by hand", answers[2], store.ErrNotFound.Error())
}

// TestLinearizableReadSeesARecordMadeAgain: its version is the one that is in
// memory, so only the change feed shows that it is another record.
func TestLinearizableReadSeesARecordMadeAgain(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	cfg := *b.conns.cfg
	other := openConfig(t, cfg)
	for i := range 300 {
		if i > 0 {
			if _, err := other.Apply(t.Context(), store.Delete("k", 0)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := other.Apply(t.Context(), store.Create("k", fmt.Append(nil, i))); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := readLatest(t, b, "k"); got != fmt.Sprint(i) {
				t.Fatalf("%s, want %d", got, i)
			}
		}
	}
}
