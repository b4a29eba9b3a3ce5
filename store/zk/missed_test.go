//go:build zookeeper

package zk_test

import (
	"fmt"
	"sync"
	"testing"

	"secretstore/store"
	"secretstore/store/zk"
)

// tooMany writes are more than the change record of a server repeats.
const tooMany = 3000

// TestChangesOfAnOutageAreReportedOrMissed cuts a server off while another
// writes a little, or more than its change record repeats.
func TestChangesOfAnOutageAreReportedOrMissed(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	p := newProxy(t, server)
	cfg := prompt(t, p.Addr())
	b := openReady(t, cfg)
	cfg.Servers = []string{server}
	a := openReady(t, zk.Patient(cfg))
	create(t, b, "warm", "x")
	create(t, a, "warm/too", "x")

	var mu sync.Mutex
	reported, missed := make(map[store.ID]bool), false
	b.Changes(t.Context(), func(c store.Changes) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range c.IDs {
			reported[id] = true
		}
		missed = missed || c.Missed
	})
	for _, writes := range []int{3, tooMany} {
		mu.Lock()
		clear(reported)
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
		eventually(t, "the writes are reported, or said to be missed", func() bool {
			mu.Lock()
			defer mu.Unlock()
			all := true
			for _, key := range keys {
				all = all && reported[store.RecordID(key)]
			}
			return all || missed
		})
		mu.Lock()
		if writes == tooMany && !missed {
			t.Error("more changes were reported than are published")
		}
		mu.Unlock()
	}
}

// TestRecordsThatMayHaveChangedAreServedWithAnAge: a server that has missed
// changes, because it was cut off, and then loses ZooKeeper altogether still has
// what it knew, with the age that it has since the first of the two.
func TestRecordsThatMayHaveChangedAreServedWithAnAge(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	p := newProxy(t, server)
	cfg := prompt(t, p.Addr())
	b := openReady(t, cfg)
	cfg.Servers = []string{server}
	a := openReady(t, zk.Patient(cfg))
	create(t, b, "kept", "1")
	create(t, a, "other", "1")
	if _, err := b.Get(t.Context(), "kept", store.Cached); err != nil {
		t.Fatal(err)
	}
	missed := make(chan bool, 1)
	b.Changes(t.Context(), func(c store.Changes) {
		if c.Missed {
			select {
			case missed <- true:
			default:
			}
		}
	})
	p.Refuse(true)
	eventually(t, "the outage is noticed", func() bool { return b.Ping(t.Context()) != nil })
	for i := 0; i < tooMany; i += 300 {
		var ops []store.Op
		for j := i; j < i+300; j++ {
			ops = append(ops, store.Create(fmt.Sprintf("f/%d", j), []byte("x")))
		}
		if _, err := a.Apply(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	p.Refuse(false)
	<-missed // while it connects again
	p.Refuse(true)
	eventually(t, "an answer from memory with an age", func() bool {
		n, err := b.Get(t.Context(), "kept", store.Cached)
		return err == nil && string(n.Data) == "1" && n.Age > 0
	})
	p.Refuse(false)
	eventually(t, "an answer of ZooKeeper", func() bool {
		n, err := b.Get(t.Context(), "kept", store.Cached)
		return err == nil && n.Age == 0
	})
}
