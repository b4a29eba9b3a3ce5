//go:build zookeeper

package zk

import (
	"errors"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/internal/zktest"
	"secretstore/store"
)

// TestWhatIsChangedByHandIsSeenAfterAWhile: no server tells of it.
func TestWhatIsChangedByHandIsSeenAfterAWhile(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	b, err := Open(t.Context(), Config{Servers: []string{server.Addr()}, MaxStale: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	b.relookAfter = time.Second
	// until reads k from memory, or asks for it, until it is as wanted.
	until := func(what string, fine func(store.Node, error) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			n, err := b.Get(t.Context(), "k", store.Cached)
			if fine(n, err) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q, %v", what, n.Data, err)
			}
		}
	}
	byHand := func(do func(*zkc.Conn) error) {
		t.Helper()
		_, err := readOn(t.Context(), b, plain, func(c *zkc.Conn) (struct{}, error) { return struct{}{}, do(c) })
		if err != nil {
			t.Fatal(err)
		}
	}
	until("connected", func(_ store.Node, err error) bool { return errors.Is(err, store.ErrNotFound) })
	path := b.path("k")
	byHand(func(c *zkc.Conn) error { _, err := c.Create(path, []byte("1"), 0, b.acl); return err })
	until("made", func(n store.Node, err error) bool { return err == nil && string(n.Data) == "1" })
	byHand(func(c *zkc.Conn) error { _, err := c.Set(path, []byte("2"), -1); return err })
	until("changed", func(n store.Node, err error) bool { return err == nil && string(n.Data) == "2" })
	byHand(func(c *zkc.Conn) error { return c.Delete(path, -1) })
	until("removed", func(_ store.Node, err error) bool { return errors.Is(err, store.ErrNotFound) })

	list, err := b.Children(t.Context(), "", store.Cached)
	if err != nil || !list.Current() {
		t.Fatalf("%v, kept: %v", err, list.Current())
	}
	b.cache.doubt(sinceBase())
	if list.Current() {
		t.Error("a listing that was read long ago is kept without another look")
	}

	// That it is due is no reason not to serve it while ZooKeeper hangs.
	byHand(func(c *zkc.Conn) error { _, err := c.Create(path, []byte("3"), 0, b.acl); return err })
	until("made again", func(n store.Node, err error) bool { return err == nil && string(n.Data) == "3" })
	time.Sleep(b.relookAfter)
	server.Pause()
	defer server.Resume()
	until("with an age", func(n store.Node, err error) bool {
		if err != nil {
			t.Fatalf("not served: %v", err)
		}
		return n.Age > 0
	})
}

// TestARecordThatWritesCheckIsLookedAtOnce: every write checks the same few, and
// at version 0 has to know that they are no bare parents.
func TestARecordThatWritesCheckIsLookedAtOnce(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	b, err := Open(t.Context(), Config{Servers: []string{server.Addr()}, MaxStale: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if _, err := b.Apply(t.Context(), store.Create("checked", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	b.flush() // as after a start, or when another record has taken its place
	if _, err := b.Apply(t.Context(), store.Check("checked", 0), store.Create("k", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if !b.known.has(recordID("checked")) {
		t.Error("the next write looks again")
	}
	b.known.purge()
	if _, err := b.Get(t.Context(), "checked", store.Cached); err != nil {
		t.Fatal(err)
	}
	b.known.purge()
	if err := b.findBareParents(t.Context(), &request{ops: []store.Op{store.Check("checked", 0)}, steps: []step{{Digest: store.RecordDigest("checked")}}}, time.Now().Add(maxCall)); err != nil {
		t.Fatal(err)
	}
	if b.known.has(recordID("checked")) {
		t.Error("a record in memory was looked for")
	}
}

// TestAParentThatHasGoneIsNotWaitedForInItsFolder: what was to be written over an
// empty znode, and finds none, is made, whatever is known of the folder above it.
func TestAParentThatHasGoneIsNotWaitedForInItsFolder(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	b, err := Open(t.Context(), Config{Servers: []string{server.Addr()}, MaxStale: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	folder := store.Ensure("f", []byte("folder"))
	if _, err := b.Apply(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	r, err := b.newRequest([]store.Op{folder, store.Create("f/x", []byte("x"))})
	if err != nil {
		t.Fatal(err)
	}
	r.steps[1].overParent = true // as if it had been there a moment ago
	b.queue.push(r)
	if _, err := r.wait(t.Context(), maxCall); err != nil {
		t.Error(err)
	}
}

// TestAnEnsureIsSentForWhatIsMissing, though it was seen as a record since: it may
// come and go while a write is repaired.
func TestAnEnsureIsSentForWhatIsMissing(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	b, err := Open(t.Context(), Config{Servers: []string{server.Addr()}, MaxStale: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if _, err := b.Apply(t.Context(), store.Create("root", []byte("is there"))); err != nil {
		t.Fatal(err)
	}
	r, err := b.newRequest([]store.Op{store.Create("f/x", []byte("x")), store.Ensure("f", []byte("folder"))})
	if err != nil {
		t.Fatal(err)
	}
	r.steps[0].parents = []store.Key{"f"}
	b.known.add(r.steps[1].ID)
	b.queue.push(r)
	if _, err := r.wait(t.Context(), maxCall); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Get(t.Context(), "f", store.Latest); err != nil || string(n.Data) != "folder" {
		t.Errorf("the folder holds %q, %v", n.Data, err)
	}
}
