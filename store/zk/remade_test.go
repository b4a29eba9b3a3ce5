//go:build zookeeper

package zk_test

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/store"
	"secretstore/store/zk"
)

// TestARecordMadeAgainIsNotTakenForTheOldOne: one server deletes and creates a
// record, which is at version 0 each time, and another one reads it, to which
// every word takes its time.
func TestARecordMadeAgainIsNotTakenForTheOldOne(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	writer := open(t, cfg)
	p := newProxy(t, server)
	cfg.Servers = []string{p.Addr()}
	reader := open(t, cfg)
	p.Complete()
	p.Slow(5 * time.Millisecond)

	var acknowledged atomic.Int64
	var running sync.WaitGroup
	defer running.Wait()
	stop := make(chan struct{})
	defer close(stop)
	running.Go(func() {
		for n := int64(1); ; n++ {
			if _, err := writer.Apply(t.Context(), store.Create("f/k", strconv.AppendInt(nil, n, 10))); err != nil {
				t.Error(err)
				return
			}
			acknowledged.Store(n)
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(n%8) * 10 * time.Millisecond): // sometimes it gets into memory in between
			}
			if _, err := writer.Apply(t.Context(), store.Delete("f/k", 0)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	found := 0
	for began := time.Now(); time.Since(began) < 4*time.Second && !t.Failed(); {
		before := acknowledged.Load()
		n, err := reader.Get(t.Context(), "f/k", store.Latest)
		switch got, _ := strconv.ParseInt(string(n.Data), 10, 64); {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			t.Fatal(err)
		case got < before:
			t.Fatalf("%d after %d was acknowledged", got, before)
		default:
			found++
		}
	}
	if found == 0 {
		t.Error("never read")
	}
}
