//go:build zookeeper

package zk_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

// TestAnUnreadableChangeRecordStopsNoServer: a server that runs as another
// user, or a mistake, must not keep the others from connecting.
func TestAnUnreadableChangeRecordStopsNoServer(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	a := open(t, cfg)
	v := create(t, a, "k", "0")
	c := raw(t, server)
	foreign := cfg.Root + "/changes/" + strings.Repeat("0f", 16)
	_, err := c.Create(foreign, []byte("x"), 0, zkc.DigestACL(zkc.PermAll, "other", "pw"))
	must(t, err)
	b := open(t, cfg) // meets it when it connects; a when it is made
	for _, backend := range []*zk.Backend{a, b} {
		eventually(t, "connected", func() bool { return get(backend, "k", store.Latest) == "0" })
		eventually(t, "noticed", func() bool { return backend.Stats().Incomplete })
	}
	// What its server writes cannot be followed: nothing may be kept in memory.
	_, err = c.Set(cfg.Root+"/k", []byte("1"), int32(v))
	must(t, err)
	for _, backend := range []store.Backend{a, b} {
		if got := get(backend, "k", store.Cached); got != "1" {
			t.Errorf("%s from memory, though not all changes are published", got)
		}
	}
	must(t, c.Delete(foreign, -1))
	v++
	for _, data := range []string{"2", "3"} {
		versions, err := a.Apply(t.Context(), store.Set("k", []byte(data), v))
		must(t, err)
		v = versions[0]
		eventually(t, "seen by the other", func() bool { return get(b, "k", store.Cached) == data })
	}
	eventually(t, "complete again", func() bool { return !a.Stats().Incomplete && !b.Stats().Incomplete })
}

// TestRecordsOfARemovedRootAreNotServedFromMemory is for one server alone: no
// other's change record goes with it.
func TestRecordsOfARemovedRootAreNotServedFromMemory(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	b := open(t, cfg)
	create(t, b, "f/k", "x")
	create(t, b, "f/l", "x")
	if got := get(b, "f/k", store.Cached); got != "x" {
		t.Fatal(got)
	}
	_, err := b.Children(t.Context(), "f", store.Cached)
	must(t, err)
	removeAll(t, raw(t, server), cfg.Root)
	eventually(t, "forgotten", func() bool { return get(b, "f/k", store.Cached) == store.ErrNotFound.Error() })
	if l, err := b.Children(t.Context(), "f", store.Cached); err != nil || len(l.Names) > 0 {
		t.Errorf("children %q, %v", l.Names, err)
	}
}

// TestAnUnknownRefusalHarmsNoOtherWrite sets a quota on ROOT: ZooKeeper
// then refuses with a code that the client library has no name for.
func TestAnUnknownRefusalHarmsNoOtherWrite(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t, zktest.Java("-Dzookeeper.enforceQuota=true"))
	p := newProxy(t, server.Addr())
	cfg := config(t, p.Addr())
	b := open(t, cfg)
	v := create(t, b, "k", "x")
	create(t, b, "full/k", "x")
	c := raw(t, server.Addr())
	path := "/zookeeper/quota"
	for part := range strings.SplitSeq(cfg.Root[1:]+"/full", "/") {
		path += "/" + part
		others(t, c, path, nil)
	}
	others(t, c, path+"/zookeeper_limits", []byte("count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2"))
	others(t, c, path+"/zookeeper_stats", []byte("count=2,bytes=1"))
	p.Complete()
	began := time.Now()
	for range 3 {
		_, err := b.Apply(t.Context(), store.Create("full/l", []byte("x")))
		var refused *store.OpError
		if err == nil || errors.Is(err, store.ErrUnavailable) || errors.As(err, &refused) {
			t.Errorf("over the quota: %v", err)
		}
		versions, err := b.Apply(t.Context(), store.Set("k", []byte("y"), v))
		must(t, err)
		v = versions[0]
	}
	if got := p.Accepted() - zk.Connections; got > 0 {
		t.Errorf("%d connections were lost over it, in %v", got, time.Since(began))
	}
}

// TestEachRecordMayNeedAFolder writes records whose folders are all missing, as a
// restore does.
func TestEachRecordMayNeedAFolder(t *testing.T) {
	t.Parallel()
	b := open(t, config(t, zk.SharedServer(t)))
	var ops []store.Op
	for i := range 50 {
		ops = append(ops, store.Create(fmt.Sprintf("folder%02d/record", i), []byte("x")))
	}
	_, err := b.Apply(t.Context(), ops...)
	must(t, err)
}

// TestManyMissingParentsAreNotTooLarge makes keys so deep that what is above
// them does not fit into one request.
func TestManyMissingParentsAreNotTooLarge(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	p := newProxy(t, server)
	b := open(t, config(t, p.Addr()))
	v := create(t, b, "k", "x")
	p.Complete()
	var ops []store.Op
	for i := range 7 { // 200 kB each
		ops = append(ops, store.Create(strings.Repeat(fmt.Sprintf("%02d/", i), 340)+"k", []byte("x")))
	}
	_, err := b.Apply(t.Context(), ops...)
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("%.80v, want ErrTooLarge", err)
	}
	// Each alone fits, all of them do not.
	results := make(chan error, len(ops))
	for i := range ops {
		go func() {
			_, err := b.Apply(t.Context(), ops[i])
			results <- err
		}()
	}
	for range ops {
		if err := <-results; err != nil {
			t.Errorf("alone: %.80v", err)
		}
	}
	if _, err := b.Apply(t.Context(), store.Set("k", []byte("y"), v)); err != nil {
		t.Error(err)
	}
	if got := p.Accepted() - zk.Connections; got > 0 {
		t.Errorf("%d connections were lost over it", got)
	}
}
