//go:build zookeeper

package zk

import (
	"context"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

func TestOnlyAbandonedChangeRecordsOfOthersAreRemoved(t *testing.T) {
	t.Parallel()
	server := SharedServer(t)
	root := NewRoot()
	open := func() *Backend {
		b, err := Open(context.Background(), Patient(Config{Servers: []string{server}, Root: root}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	a, b := open(), open()
	for i, backend := range []*Backend{a, b} {
		if _, err := backend.Apply(t.Context(), store.Create([]string{"a", "b"}[i], []byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	names := func() int {
		n, err := readOn(t.Context(), a.conns, fresh, func(c *zkc.Conn) (int, error) {
			names, _, err := c.Children(a.tree.Changes())
			return len(names), err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, tt := range []struct {
		after time.Duration
		stay  int
	}{{abandonedAfter, 2}, {0, 1}} {
		b.house.abandonedAfter = tt.after
		l, err := b.conns.await(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := b.house.removeAbandoned(t.Context(), l.Session); err != nil {
			t.Fatal(err)
		}
		if got := names(); got != tt.stay {
			t.Errorf("after %v: %d change records stay, want %d", tt.after, got, tt.stay)
		}
	}
	// The server that was taken for dead is not.
	if _, err := a.Apply(t.Context(), store.Create("c", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if got := names(); got != 2 {
		t.Errorf("%d change records, want 2", got)
	}
}
