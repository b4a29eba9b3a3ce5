//go:build zookeeper

package zk

import (
	"errors"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk/internal/session"
)

// TestChangesByHandAreSeenAfterAWhile: no server publishes it. A linearizable
// read sees it at once.
func TestChangesByHandAreSeenAfterAWhile(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	b := openConfig(t, Config{Servers: []string{server.Addr()}, MaxStale: time.Minute})
	b.cache.recheckAfter = 200 * time.Millisecond
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
		_, err := readOn(t.Context(), b.conns, plain, func(c *zkc.Conn) (struct{}, error) { return struct{}{}, do(c) })
		if err != nil {
			t.Fatal(err)
		}
	}
	until("connected", func(_ store.Node, err error) bool { return errors.Is(err, store.ErrNotFound) })
	path := b.tree.Path("k")
	byHand(func(c *zkc.Conn) error { _, err := c.Create(path, []byte("1"), 0, b.tree.ACL); return err })
	until("made", func(n store.Node, err error) bool { return err == nil && string(n.Data) == "1" })
	byHand(func(c *zkc.Conn) error { _, err := c.Set(path, []byte("2"), -1); return err })
	if n, err := b.Get(t.Context(), "k", store.Latest); err != nil || string(n.Data) != "2" {
		t.Errorf("a linearizable read: %q, %v", n.Data, err)
	}
	byHand(func(c *zkc.Conn) error { _, err := c.Set(path, []byte("3"), -1); return err })
	until("changed", func(n store.Node, err error) bool { return err == nil && string(n.Data) == "3" })
	byHand(func(c *zkc.Conn) error { return c.Delete(path, -1) })
	until("removed", func(_ store.Node, err error) bool { return errors.Is(err, store.ErrNotFound) })

	list, err := b.Children(t.Context(), "", store.Cached)
	if err != nil || !list.Current() {
		t.Fatalf("%v, kept: %v", err, list.Current())
	}
	b.cache.entries.Doubt(session.Now())
	if list.Current() {
		t.Error("a listing that was read long ago is kept without being read again")
	}

	// A record that is due to be read again is still served while ZooKeeper hangs.
	byHand(func(c *zkc.Conn) error { _, err := c.Create(path, []byte("3"), 0, b.tree.ACL); return err })
	until("made again", func(n store.Node, err error) bool { return err == nil && string(n.Data) == "3" })
	time.Sleep(b.cache.recheckAfter)
	server.Pause()
	defer server.Resume()
	until("with an age", func(n store.Node, err error) bool {
		if err != nil {
			t.Fatalf("not served: %v", err)
		}
		return n.Age > 0
	})
}
