//go:build zookeeper

package zk_test

import (
	"fmt"
	"sync"
	"testing"

	"secretstore/internal/zktest"
	"secretstore/store"
)

// TestChangesOfAnOutageAreToldOrSaidToBeMissed cuts a server off while another
// writes a little, or more than a change record tells.
func TestChangesOfAnOutageAreToldOrSaidToBeMissed(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	p := newProxy(t, server.Addr())
	cfg := config(t, p.Addr())
	b := open(t, cfg)
	cfg.Servers = []string{server.Addr()}
	a := open(t, cfg)
	create(t, b, "warm", "x") // both are connected
	create(t, a, "warm/too", "x")

	var mu sync.Mutex
	told, missed := make(map[store.ID]bool), false
	b.Changes(t.Context(), func(c store.Changes) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range c.IDs {
			told[id] = true
		}
		missed = missed || c.Missed
	})
	for _, writes := range []int{3, 1500} {
		mu.Lock()
		clear(told)
		missed = false
		mu.Unlock()
		p.Refuse(true)
		eventually(t, "the outage is noticed", func() bool { return b.Ping(t.Context()) != nil })
		var keys []store.Key
		for i := 0; i < writes; i += 300 {
			var ops []store.Op
			for j := i; j < min(i+300, writes); j++ {
				key := fmt.Sprintf("f%d/%d", writes, j)
				keys = append(keys, key)
				ops = append(ops, store.Create(key, []byte("x")))
			}
			if _, err := a.Apply(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
		}
		p.Refuse(false)
		eventually(t, "what was written is told, or said to be missed", func() bool {
			mu.Lock()
			defer mu.Unlock()
			all := true
			for _, key := range keys {
				all = all && told[store.RecordID(key)]
			}
			return all || missed
		})
		mu.Lock()
		if writes > 1024 && !missed {
			t.Error("more changes were told than are published")
		}
		mu.Unlock()
	}
}
