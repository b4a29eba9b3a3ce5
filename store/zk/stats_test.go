//go:build zookeeper

package zk_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

// meter keeps what a backend has measured.
type meter struct {
	mu     sync.Mutex
	calls  map[store.Call]int // guarded by mu
	failed map[store.Call]int // guarded by mu
}

func (m *meter) measure(call store.Call, _ time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[call]++
	if errors.Is(err, store.ErrUnavailable) {
		m.failed[call]++
	}
}

func (m *meter) of(call store.Call) (all, failed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[call], m.failed[call]
}

// TestOnlyWhatZooKeeperIsAskedIsMeasured: what is answered from memory counts as
// a hit, and takes no time of ZooKeeper.
func TestOnlyWhatZooKeeperIsAskedIsMeasured(t *testing.T) {
	t.Parallel()
	m := &meter{calls: make(map[store.Call]int), failed: make(map[store.Call]int)}
	cfg := config(t, zk.SharedServer(t))
	cfg.Meter = m.measure
	b := open(t, cfg)
	create(t, b, "f/k", "x")
	if writes, failed := m.of(store.CallWrite); writes == 0 || failed != 0 {
		t.Errorf("%d writes, %d failed", writes, failed)
	}
	eventually(t, "in memory", func() bool {
		asked, _ := m.of(store.CallRead)
		hits := b.Stats().Hits
		got := get(b, "f/k", store.Cached)
		now, _ := m.of(store.CallRead)
		return got == "x" && now == asked && b.Stats().Hits == hits+1
	})
	before, _ := m.of(store.CallRead)
	misses := b.Stats().Misses
	if got := get(b, "f/none", store.Cached); got != store.ErrNotFound.Error() {
		t.Fatal(got)
	}
	if after, failed := m.of(store.CallRead); after != before+1 || failed != 0 || b.Stats().Misses != misses+1 {
		t.Errorf("%d reads and %d misses for one that was not in memory; %d failed", after-before, b.Stats().Misses-misses, failed)
	}
	if _, err := b.Children(t.Context(), "f", store.Cached); err != nil {
		t.Fatal(err)
	}
	if lists, _ := m.of(store.CallList); lists == 0 {
		t.Error("a listing was not measured")
	}
	if s := b.Stats(); s.Entries == 0 || s.Bytes == 0 {
		t.Errorf("%+v", s)
	}
}

// TestFeedLagGrowsWhileChangesCannotBeFollowed pauses ZooKeeper, and lets it run
// again.
func TestFeedLagGrowsWhileChangesCannotBeFollowed(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	m := &meter{calls: make(map[store.Call]int), failed: make(map[store.Call]int)}
	cfg := config(t, server.Addr())
	cfg.Meter = m.measure
	b := open(t, cfg)
	create(t, b, "k", "x")
	eventually(t, "followed", func() bool { return b.Stats().Lag < 3*time.Second })
	server.Pause()
	eventually(t, "lag", func() bool { return b.Stats().Lag > 6*time.Second })
	if got := get(b, "k", store.Latest); got == "x" {
		t.Errorf("%q from a ZooKeeper that is paused", got)
	}
	if _, failed := m.of(store.CallRead); failed == 0 {
		t.Error("no failure was measured")
	}
	server.Resume()
	eventually(t, "followed again", func() bool { return b.Stats().Lag < 3*time.Second })
}
