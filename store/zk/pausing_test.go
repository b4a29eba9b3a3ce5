//go:build zookeeper

package zk_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/store"
	"secretstore/store/zk"
)

// steady has two servers write in turn, without a pause, until the test ends. The n-th
// transaction sets "p/log" and one of a few other records to n.
type steady struct {
	done   atomic.Int64 // transactions
	failed chan error   // gets one value at the end
}

const slots = 10

func writeSteadily(t *testing.T, servers ...store.Backend) (s *steady, end func()) {
	t.Helper()
	s = &steady{failed: make(chan error, 1)}
	versions := make(map[store.Key]store.Version)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		for n := int64(1); ; n++ {
			var ops []store.Op
			for _, key := range []store.Key{"p/log", fmt.Sprintf("p/slot/%d", n%slots)} {
				op := store.Create(key, []byte(strconv.FormatInt(n, 10)))
				if v, ok := versions[key]; ok {
					op = store.Set(key, op.Data, v)
				}
				ops = append(ops, op)
			}
			got, err := servers[n%int64(len(servers))].Apply(t.Context(), ops...)
			if err != nil || ctx.Err() != nil {
				s.failed <- err
				return
			}
			versions[ops[0].Key], versions[ops[1].Key] = got[0], got[1]
			s.done.Store(n)
		}
	}()
	return s, func() {
		stop()
		if err := <-s.failed; err != nil {
			t.Errorf("a write failed: %v", err)
		}
	}
}

// more waits for transactions.
func (s *steady) more(t *testing.T, n int64) {
	t.Helper()
	before := s.done.Load()
	eventually(t, "writes", func() bool { return s.done.Load() >= before+n })
}

// snapshot reads a snapshot, and reports whether it is the state after one of the
// transactions. Some end before each round up to last: a machine that has little time
// for them might let the snapshot end early.
func (s *steady) snapshot(t *testing.T, b store.Snapshotter, pause bool, last int) (oneState bool, err error) {
	t.Helper()
	got := make(map[store.Key]string)
	ask := store.Snapshot{Below: []store.Key{"p"}, Pause: pause, Again: func(round int) {
		if round <= last {
			s.more(t, 2)
		}
	}}
	err = b.Snapshot(t.Context(), ask, func(key store.Key, data []byte) error { got[key] = string(data); return nil })
	n, _ := strconv.Atoi(got["p/log"])
	want := map[store.Key]string{"p/log": strconv.Itoa(n)}
	for i := max(1, n-slots+1); i <= n; i++ {
		want[fmt.Sprintf("p/slot/%d", i%slots)] = strconv.Itoa(i)
	}
	return maps.Equal(got, want), err
}

// TestASnapshotEndsIfItMayPauseWrites has two servers write as fast as they can: without
// a pause that is too much.
func TestASnapshotEndsIfItMayPauseWrites(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	a, b := openReady(t, cfg), openReady(t, cfg)
	s, end := writeSteadily(t, a, b)
	defer end()
	s.more(t, 2*slots)
	if _, err := s.snapshot(t, a, false, store.SnapshotRounds); !errors.Is(err, store.ErrTooManyWrites) {
		t.Errorf("without a pause: %v", err)
	}
	for _, by := range []*zk.Backend{a, b} { // the second waits until there can be another pause
		if ok, err := s.snapshot(t, by, true, store.SnapshotRounds); err != nil || !ok {
			t.Errorf("with a pause: one state: %v, %v", ok, err)
		}
	}
	s.more(t, 2*slots)
	if exists, _, err := raw(t, server).Exists(cfg.Root + "/pause"); err != nil || exists {
		t.Errorf("the znode is still there: %v, %v", exists, err)
	}
}

// TestASnapshotNoticesServersThatDoNotPause: one of an earlier release, for example.
func TestASnapshotNoticesServersThatDoNotPause(t *testing.T) {
	t.Parallel()
	cfg := config(t, zk.SharedServer(t))
	a, b := openReady(t, zk.Pausing(cfg, time.Second)), openReady(t, zk.Pausing(cfg, time.Nanosecond))
	s, end := writeSteadily(t, b)
	defer end()
	s.more(t, 2*slots)
	if _, err := s.snapshot(t, a, true, math.MaxInt); !errors.Is(err, store.ErrTooManyWrites) {
		t.Errorf("while a server does not pause: %v", err)
	}
}

// TestAHostileZnodeHoldsFewWritesBack: someone writes to it all the time, and never
// removes it.
func TestAHostileZnodeHoldsFewWritesBack(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	logs, lines := observer.New(zap.InfoLevel)
	cfg := zk.Pausing(config(t, server), time.Second/2)
	cfg.Log = zap.New(logs)
	b := openReady(t, cfg)
	c := raw(t, server)
	path := cfg.Root + "/pause"
	others(t, c, path, []byte("10000h"))
	began := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		var err error
		for n := 0; ctx.Err() == nil && err == nil; n++ {
			if _, err = c.Set(path, []byte("forever"), -1); n%2 == 0 && err == nil {
				if err = c.Delete(path, -1); err == nil {
					_, err = c.Create(path, nil, 0, zkc.WorldACL(zkc.PermAll))
				}
			}
		}
		ended <- err
	}()
	s, end := writeSteadily(t, b)
	eventually(t, "a pause", func() bool { return lines.FilterMessageSnippet("held back").Len() > 0 })
	s.more(t, 100)
	stop()
	must(t, <-ended)
	end()
	pauses, most := lines.FilterMessageSnippet("held back").Len(), 1+int(time.Since(began)/(10*time.Second))
	if pauses > most {
		t.Errorf("%d pauses, want at most %d", pauses, most)
	}
	t.Logf("%d pauses, %d writes, in %v", pauses, s.done.Load(), time.Since(began))
}
