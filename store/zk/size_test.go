//go:build zookeeper

package zk_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"secretstore/store"
	"secretstore/store/zk"
)

// TestNoTransactionIsTooLargeForZooKeeper fills every limit at once: ZooKeeper
// closes the connection of everybody on a packet that is too large, so it is
// done, or it is refused before it is sent.
func TestNoTransactionIsTooLargeForZooKeeper(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	for name, root := range map[string]string{"default": "/dcos/secrets", "long": "/" + strings.Repeat("r", 199)} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, server)
			cfg.Root = root
			p := newProxy(t, server)
			cfg.Servers = []string{p.Addr()}
			cfg.User, cfg.Password = "user", "password" // longer ACLs
			b := open(t, cfg)
			create(t, b, "k", "x")
			p.Complete()
			for _, n := range []int{1, 2, 10, 100, 1000, 1445} {
				ops := filled(n)
				if err := store.CheckOps(ops); err != nil {
					t.Fatal(err)
				}
				_, err := b.Apply(t.Context(), ops...)
				if err != nil && (root == "/dcos/secrets" || !errors.Is(err, store.ErrTooLarge)) {
					t.Errorf("%d operations: %v", n, err)
				}
			}
			if got := p.Accepted(); got != zk.Connections {
				t.Errorf("%d connections, want %d", got, zk.Connections)
			}
		})
	}
}

// filled returns n operations with as much data, and as long names, as are
// permitted together.
func filled(n int) []store.Op {
	var ops []store.Op
	data, naming := store.MaxTransaction, store.MaxNaming
	for i := range n {
		size := min(store.MaxData, data/(n-i))
		data -= size
		length := min(store.MaxComponent, naming/(n-i)-store.OpOverhead)
		naming -= length + store.OpOverhead
		key := fmt.Sprintf("%04d", i)
		if length > len(key) {
			key += strings.Repeat("n", length-len(key))
		}
		ops = append(ops, store.Ensure(key, make([]byte, size)))
	}
	return ops
}
