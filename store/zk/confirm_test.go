//go:build zookeeper

package zk

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

// mark puts something else into the memory in place of what a record holds, so
// that a read tells where it was answered from.
func mark(t *testing.T, b *Backend, key store.Key) {
	t.Helper()
	d := store.RecordDigest(key)
	e, ok := b.cache.get(d)
	if !ok {
		t.Fatalf("%s is not in memory", key)
	}
	b.cache.put(d.ID, b.cache.ticket(d.ID), &entry{rest: e.rest, read: e.read, version: e.version, data: []byte("from memory")})
}

// followed waits until the word of all changes so far has been followed.
func followed(t *testing.T, b *Backend) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if l := b.live.Load(); l != nil && l.followed.Load() >= l.dirty.told.Load() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the changes of the others are not followed")
		}
	}
}

// TestNothingIsInMemoryBeforeAServerHearsOfChanges: it would not be told when that
// changes.
func TestNothingIsInMemoryBeforeAServerHearsOfChanges(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	use := func(key store.Key) (kept []bool) {
		t.Helper()
		if _, err := b.Apply(t.Context(), store.Create(key, []byte("x"))); err != nil {
			t.Fatal(err)
		}
		_, wrote := b.cache.get(store.RecordDigest(key))
		b.dropRecord(recordID(key))
		if _, err := b.Get(t.Context(), key, store.Latest); err != nil {
			t.Fatal(err)
		}
		_, read := b.cache.get(store.RecordDigest(key))
		list, err := b.Children(t.Context(), "f", store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		_, listed := b.cache.get(store.ListingDigest("f"))
		return []bool{wrote, read, listed, list.Current()}
	}
	followed(t, b)
	if kept := use("f/k"); slices.Contains(kept, false) {
		t.Errorf("a server that hears of changes keeps %v", kept)
	}
	b.heard.Store(false)
	b.flush()
	if kept := use("f/other"); slices.Contains(kept, true) {
		t.Errorf("before it hears of changes it keeps %v", kept)
	}
}

func TestALinearizableReadIsAnsweredFromMemoryWhereThatIsConfirmed(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	for i := range 3 {
		if _, err := b.Apply(t.Context(), store.Create(fmt.Sprint("k", i), []byte("stored"))); err != nil {
			t.Fatal(err)
		}
	}
	latest := func(key store.Key) string {
		t.Helper()
		n, err := b.Get(t.Context(), key, store.Latest)
		if err != nil {
			return err.Error()
		}
		return string(n.Data)
	}
	expect := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	byHand := func(do func(c *zkc.Conn) error) {
		t.Helper()
		if _, err := readOn(t.Context(), b, plain, func(c *zkc.Conn) (struct{}, error) { return struct{}{}, do(c) }); err != nil {
			t.Fatal(err)
		}
	}
	followed(t, b)
	mark(t, b, "k0")
	expect("in memory", latest("k0"), "from memory")

	l := b.live.Load()
	l.dirty.told.Add(1)
	expect("while there is word of changes to follow", latest("k0"), "stored")
	l.dirty.told.Add(^uint64(0))

	mark(t, b, "k0")
	e, _ := b.cache.get(store.RecordDigest("k0"))
	e.doubted.Store(1)
	expect("doubted", latest("k0"), "stored")

	mark(t, b, "k0")
	e, _ = b.cache.get(store.RecordDigest("k0"))
	e.read -= int64(b.relookAfter)
	expect("long in memory", latest("k0"), "stored")

	mark(t, b, "k0")
	mark(t, b, "k1")
	byHand(func(c *zkc.Conn) error { _, err := c.Set(b.path("k0"), []byte("by hand"), -1); return err })
	byHand(func(c *zkc.Conn) error { return c.Delete(b.path("k2"), -1) })
	answers := make([]string, 3)
	var reads sync.WaitGroup
	for i := range answers {
		reads.Go(func() { answers[i] = latest(fmt.Sprint("k", i)) })
	}
	reads.Wait()
	expect("set by hand", answers[0], "by hand")
	expect("beside others that have changed", answers[1], "from memory")
	expect("deleted by hand", answers[2], store.ErrNotFound.Error())
}

// TestOneThatHasChangedDoesNotSpoilTheAnswerOfOthers asks about all in one
// transaction.
func TestOneThatHasChangedDoesNotSpoilTheAnswerOfOthers(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	if _, err := b.Apply(t.Context(), store.Create("k", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	followed(t, b)
	for spoilt := range maxSpoilt + 1 {
		var batch []confirmation
		ask := func(path string, version int32) chan bool {
			done := make(chan bool, 1)
			batch = append(batch, confirmation{path, version, done})
			return done
		}
		var bad []chan bool
		for i := range spoilt {
			bad = append(bad, ask(b.path(fmt.Sprint("none", i)), 0), ask(b.path(fmt.Sprint("none", i)), 0))
		}
		good := ask(b.path("k"), 0)
		answer(t.Context(), b.live.Load(), batch)
		if got, want := <-good, spoilt < maxSpoilt; got != want {
			t.Errorf("beside %d others: %v, want %v", spoilt, got, want)
		}
		for _, done := range bad {
			if <-done {
				t.Error("a znode that is not there was confirmed")
			}
		}
	}
}
