//go:build zookeeper

package api_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

// onZooKeeper returns two servers on one storage, both unsealed, that hear of
// each other's changes: streams from before that begin with a resync.
func onZooKeeper(t *testing.T, addr string) (a, b *edge) {
	t.Helper()
	backend := func() store.Backend {
		connected := make(chan struct{}, 1)
		log := zaptest.NewLogger(t, zaptest.WrapOptions(zap.Hooks(func(e zapcore.Entry) error {
			if e.Message == "connected to ZooKeeper" {
				select {
				case connected <- struct{}{}:
				default:
				}
			}
			return nil
		})))
		z, err := zk.Open(context.Background(), zk.Config{Servers: []string{addr}, Root: "/watch", MaxStale: time.Minute, Log: log})
		must(t, err)
		t.Cleanup(func() { must(t, z.Close()) })
		select {
		case <-connected:
		case <-time.After(patience):
			t.Fatal("no connection to ZooKeeper")
		}
		return z
	}
	a = newEdge(t, edgeOptions{storage: backend(), level: 2})
	b = newEdge(t, edgeOptions{storage: backend(), level: 2, uninitialized: true})
	_, err := b.store.Unseal(t.Context(), []byte(a.unseal))
	must(t, err)
	return a, b
}

// again does what may fail for a moment after an outage.
func again(t *testing.T, what string, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func TestAWriteOnOneServerWakesTheWatchersOfAnother(t *testing.T) {
	server := zktest.Start(t)
	a, b := onZooKeeper(t, server.Addr())
	const watchers = 200
	a.put("group/a", "v0")
	again(t, "read on the other", func() error { return b.is("group/a", "v0") })
	events := b.listen("?prefix=group", b.as("lister"))
	for round := 1; round <= 3; round++ {
		etag := b.etag("group/a")
		answers := make([]<-chan res, watchers)
		for i := range answers {
			answers[i] = b.begin(watching("group/a", etag))
		}
		b.awaitWaiting(watchers + 1)
		value := fmt.Sprint("v", round)
		began := time.Now()
		must(t, a.api("alice").UpdateText(t.Context(), "group/a", wire.SecretWrite{Value: value}))
		for _, answer := range answers {
			b.answered(answer, 200, `"`+value+`"`)
		}
		t.Logf("%d watchers of the other server have the new value %v after it was sent", watchers, time.Since(began))
		for b.heard(events, wire.EventChanged, "group/a").Version != uint64(round+1) { // the news of its creation may come late
		}
	}
	// A name that is new to the other server, in a folder that is new to it.
	a.put("group/deep/er/b", "v")
	b.heard(events, wire.EventChanged, "group/deep/er/b")
	must(t, a.api("alice").Delete(t.Context(), "group/deep/er/b"))
	b.heard(events, wire.EventDeleted, "group/deep/er/b")
}

// TestDeletedListOnZooKeeper: what one server deletes, restores and purges, the
// list of the other shows, though it caches.
func TestDeletedListOnZooKeeper(t *testing.T) {
	server := zktest.Start(t)
	a, b := onZooKeeper(t, server.Addr())
	from, to := a.api("alice"), b.api("alice")
	shows := func(what string, want ...string) {
		t.Helper()
		again(t, what, func() error {
			names, err := to.ListDeleted(t.Context(), "group")
			if err == nil && !slices.Equal(names, want) {
				err = fmt.Errorf("%q, want %q", names, want)
			}
			return err
		})
	}
	for _, p := range []string{"group/a", "group/deep/er/b", "group/c"} {
		a.put(p, "v")
	}
	shows("before", []string{}...)
	must(t, from.Delete(t.Context(), "group/a"))
	must(t, from.Delete(t.Context(), "group/deep/er/b"))
	shows("deleted", "a", "deep/er/b")
	_, err := from.Undelete(t.Context(), "group/a")
	must(t, err)
	shows("restored", "deep/er/b")
	must(t, from.Purge(t.Context(), "group/deep/er/b"))
	must(t, from.Delete(t.Context(), "group/c"))
	shows("purged", "c")
	a.put("group/c", "another")
	shows("created again", []string{}...)
}

// is returns nil if alice reads value.
func (e *edge) is(path, value string) error {
	got, err := e.api("alice").Get(e.t.Context(), path, client.GetOptions{})
	if err == nil && string(got.Value) != value {
		err = fmt.Errorf("%q, want %q", got.Value, value)
	}
	return err
}

func TestWatchersAndStreamsOutlastAnOutageOfZooKeeper(t *testing.T) {
	server := zktest.Start(t)
	a, b := onZooKeeper(t, server.Addr())
	a.put("group/a", "v0")
	again(t, "read on the other", func() error { return b.is("group/a", "v0") })
	events := b.listen("?prefix=group", b.as("lister"))
	w := b.begin(watching("group/a", b.etag("group/a")))
	b.awaitWaiting(2)
	server.Kill()
	again(t, "the outage is noticed", func() error {
		if err := b.store.Ping(t.Context()); err != nil {
			return nil
		}
		return fmt.Errorf("it still answers")
	})
	server.Launch()
	again(t, "write after the outage", func() error {
		return a.api("alice").UpdateText(t.Context(), "group/a", wire.SecretWrite{Value: "v1"})
	})
	b.answered(w, 200, `"v1"`)
	for {
		got := b.hear(events)
		if got.kind == wire.EventChanged && got.Name == "group/a" && got.Version >= 2 {
			break
		}
		if got.kind != wire.EventResync && got.kind != wire.EventChanged {
			t.Errorf("%+v", got)
		}
		if got.kind == wire.EventResync && b.is("group/a", "v1") == nil {
			break // a new read finds it
		}
	}
}
