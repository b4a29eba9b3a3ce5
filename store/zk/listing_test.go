//go:build zookeeper

package zk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/store"
	"secretstore/store/zk"
)

// TestALargeListingHarmsNobodyElse lists 3 MB of names over a network that needs
// three seconds for them, or loses the connection over them, while others read
// and write.
func TestALargeListingHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	p := newProxy(t, server)
	cfg := config(t, p.Addr())
	log, logged := observer.New(zap.InfoLevel)
	cfg.Log = zap.New(log)
	b := open(t, cfg)
	v := create(t, b, "k", "x")
	const names = 30_000
	many(t, raw(t, server), cfg.Root+"/f", names)
	p.Complete()

	p.Large(30 * time.Millisecond)
	listed := make(chan error, 1)
	go func() {
		list, err := b.Children(t.Context(), "f", store.Latest)
		if err == nil && len(list.Names) != names {
			err = fmt.Errorf("%d names, want %d", len(list.Names), names)
		}
		listed <- err
	}()
	v, rounds := undisturbed(t, b, v, listed)
	if rounds == 0 {
		t.Error("reads and writes waited for the listing")
	}
	if got := p.Accepted(); got != zk.Connections {
		t.Errorf("%d connections were lost over a slow listing", got-zk.Connections)
	}

	p.Large(-1)
	ctx, enough := context.WithCancel(t.Context())
	go func() {
		_, err := b.Children(ctx, "f", store.Latest)
		enough()
		if errors.Is(err, store.ErrUnavailable) {
			err = nil
		}
		listed <- err
	}()
	go func() {
		for p.Accepted() == zk.Connections && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		enough() // it would be tried again
	}()
	_, _ = undisturbed(t, b, v, listed)
	eventually(t, "a connection in place of one that the listing has cut", func() bool { return p.Accepted() > zk.Connections })
	if got := logged.FilterMessage("connected to ZooKeeper").Len(); got != 1 {
		t.Errorf("the connection of the writes was made %d times, want 1", got)
	}
}

// undisturbed reads and writes until done, and returns the version of k and how
// often it has read and written before that.
func undisturbed(t *testing.T, b store.Backend, v store.Version, done chan error) (version store.Version, rounds int) {
	t.Helper()
	for ; ; rounds++ {
		var wg sync.WaitGroup
		for range zk.Connections {
			wg.Go(func() {
				if _, err := b.Get(t.Context(), "k", store.Latest); err != nil {
					t.Errorf("read beside a listing: %v", err)
				}
			})
		}
		versions, err := b.Apply(t.Context(), store.Set("k", []byte("y"), v))
		wg.Wait()
		if err != nil {
			t.Fatalf("write beside a listing: %v", err)
		}
		v = versions[0]
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the listing: %v", err)
			}
			return v, rounds
		default:
		}
	}
}

// many makes n children of 100 bytes each.
func many(t *testing.T, c *zkc.Conn, path string, n int) {
	t.Helper()
	others(t, c, path, nil)
	for n > 0 {
		var ops []any
		for range min(n, 2000) {
			ops = append(ops, &zkc.CreateRequest{Path: fmt.Sprintf("%s/%06d%s", path, n, strings.Repeat("n", 94)), Acl: zkc.WorldACL(zkc.PermAll)})
			n--
		}
		_, err := c.Multi(ops...)
		must(t, err)
	}
}
