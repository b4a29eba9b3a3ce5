//go:build zookeeper

package zk_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk"
)

// raw is the client of another program.
func raw(t *testing.T, addr string) *zkc.Conn {
	t.Helper()
	c, events, err := zkc.Connect([]string{addr}, 30*time.Second, zkc.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		for range events {
		}
	})
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func others(t *testing.T, c *zkc.Conn, path string, data []byte) {
	t.Helper()
	_, err := c.Create(path, data, 0, zkc.WorldACL(zkc.PermAll))
	must(t, err)
}

func TestForeignZnodesDoNoHarm(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	b := open(t, cfg)
	create(t, b, "f/k", "x")
	c := raw(t, server)
	for _, name := range []string{"with space", "ünïcode", "a%b", "new\u2028line", strings.Repeat("n", store.MaxComponent+1), "{}", "..."} {
		others(t, c, cfg.Root+"/f/"+name, []byte("?"))
	}
	list, err := b.Children(t.Context(), "f", store.Latest)
	slices.Sort(list.Names)
	if err != nil || !slices.Equal(list.Names, []string{"...", "k"}) {
		t.Errorf("children %q, %v", list.Names, err)
	}
	junk := make([]byte, 700_000)
	rand.Read(junk)
	others(t, c, cfg.Root+"/junk", junk)
	if got := get(b, "junk", store.Latest); got != string(junk) {
		t.Error("foreign data come back changed")
	}
	others(t, c, cfg.Root+"/empty", nil)
	if _, err := b.Get(t.Context(), "empty", store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an empty znode: %v", err)
	}
	if _, err := b.Get(t.Context(), "changes", store.Latest); !errors.Is(err, store.ErrInvalidKey) {
		t.Errorf("reserved key: %v", err)
	}
}

func TestAForgedFeedOnlyFlushes(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	a, b := open(t, cfg), open(t, cfg)
	v := create(t, a, "k", "0")
	c := raw(t, server)
	dir := cfg.Root + "/changes/"
	forged := [][]byte{nil, []byte("x"), []byte("scl2"), bytes.Repeat([]byte{0xff}, 20), append([]byte("scl2"), bytes.Repeat([]byte{0xff}, 16)...),
		append([]byte("scl2"), make([]byte, 16+8)...), bytes.Repeat([]byte("scl2"), 100_000)}
	for i, data := range forged {
		for _, name := range []string{fmt.Sprint("odd name ", i), fmt.Sprintf("%032x", i)} {
			others(t, c, dir+name, data)
			for _, again := range forged {
				_, err := c.Set(dir+name, again, -1)
				must(t, err)
			}
		}
	}
	// Rewrite, and then remove, what the servers themselves have published.
	for round := range 3 {
		names, _, err := c.Children(cfg.Root + "/changes")
		must(t, err)
		for _, name := range names {
			if round == 1 {
				_, err = c.Set(dir+name, []byte("mine"), -1)
			} else {
				err = c.Delete(dir+name, -1)
			}
			must(t, err)
		}
		for i := range 20 {
			data := fmt.Sprintf("%d-%d", round, i)
			versions, err := a.Apply(t.Context(), store.Set("k", []byte(data), v))
			must(t, err)
			v = versions[0]
			eventually(t, "seen by the other", func() bool { return get(b, "k", store.Cached) == data })
		}
	}
	// More of them than can be followed.
	for i := range 600 {
		others(t, c, fmt.Sprintf("%s%032x", dir, 1000+i), nil)
	}
	for i := range 20 {
		data := fmt.Sprint("many", i)
		versions, err := a.Apply(t.Context(), store.Set("k", []byte(data), v))
		must(t, err)
		v = versions[0]
		eventually(t, "seen by the other", func() bool { return get(b, "k", store.Cached) == data })
	}
}

func TestRootRemovedUnderARunningServer(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	b := open(t, cfg)
	v := create(t, b, "f/k", "x")
	removeAll(t, raw(t, server), cfg.Root)
	eventually(t, "gone", func() bool { return get(b, "f/k", store.Latest) == store.ErrNotFound.Error() })
	_, err := b.Apply(t.Context(), store.Set("f/k", []byte("y"), v))
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Set of what was removed: %v", err)
	}
	create(t, b, "f/k", "z")
}

func removeAll(t *testing.T, c *zkc.Conn, path string) {
	t.Helper()
	for {
		names, _, err := c.Children(path)
		if errors.Is(err, zkc.ErrNoNode) {
			return
		}
		must(t, err)
		for _, name := range names {
			removeAll(t, c, path+"/"+name)
		}
		err = c.Delete(path, -1)
		if err == nil || errors.Is(err, zkc.ErrNoNode) {
			return
		}
		if !errors.Is(err, zkc.ErrNotEmpty) {
			t.Fatal(err)
		}
	}
}

func TestWatchSeesWhatOthersDoByHand(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	p := newProxy(t, server)
	cfg := config(t, p.Addr())
	b := open(t, cfg)
	v := create(t, b, "f/k", "0")
	_ = v
	notified := make(chan struct{}, 1)
	b.Watch(t.Context(), []store.Key{"f/k"}, func() {
		select {
		case notified <- struct{}{}:
		default:
		}
	})
	c := raw(t, server)
	path := cfg.Root + "/f/k"
	for i, change := range []func() error{
		func() error { _, err := c.Set(path, []byte("1"), -1); return err },
		func() error { return c.Delete(path, -1) },
		func() error { _, err := c.Create(path, []byte("3"), 0, zkc.WorldACL(zkc.PermAll)); return err },
		func() error { p.Cut(); _, err := c.Set(path, []byte("4"), -1); return err },
		func() error { p.Refuse(true); _, err := c.Set(path, []byte("5"), -1); p.Refuse(false); return err },
	} {
		must(t, change())
		want := []string{"1", store.ErrNotFound.Error(), "3", "4", "5"}[i]
		for get(b, "f/k", store.Cached) != want {
			select {
			case <-notified:
			case <-time.After(patience):
				t.Fatalf("change %d was not reported", i)
			}
		}
	}
}

func TestZnodeOutsideRoot(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	b := open(t, config(t, server))
	c := raw(t, server)
	for _, path := range []string{"", "x", "/", "/a/", "/a//b", "/zookeeper/x", "/a/../b"} {
		if _, err := b.ReadZnode(t.Context(), path); !errors.Is(err, zk.ErrConfig) {
			t.Errorf("%q: %v, want ErrConfig", path, err)
		}
		if err := b.WatchZnode(t.Context(), path, nil); !errors.Is(err, zk.ErrConfig) {
			t.Errorf("%q: %v, want ErrConfig", path, err)
		}
	}
	var last atomic.Value
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	must(t, b.WatchZnode(ctx, "/token-secret", func(data []byte, err error) {
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v", err)
		}
		last.Store(string(data))
	}))
	eventually(t, "notified that it is missing", func() bool { return last.Load() == "" })
	others(t, c, "/token-secret", []byte("s1"))
	eventually(t, "notified of s1", func() bool { return last.Load() == "s1" })
	_, err := c.Set("/token-secret", []byte("s2"), -1)
	must(t, err)
	eventually(t, "notified of s2", func() bool { return last.Load() == "s2" })
	_, err = c.Create("/closed", []byte("s"), 0, zkc.DigestACL(zkc.PermAll, "other", "pw"))
	must(t, err)
	if _, err := b.ReadZnode(t.Context(), "/closed"); !errors.Is(err, zkc.ErrNoAuth) || !strings.Contains(err.Error(), "/closed") {
		t.Errorf("a znode that is not for us: %v", err)
	}
}

// TestAFolderThatWasRemovedIsMadeAgain: that it was there is remembered, and
// the znode then not looked for; who removes it by hand tells nobody. Like all
// that is written, it gets its data, so that it does not stay a bare parent.
func TestAFolderThatWasRemovedIsMadeAgain(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	b := open(t, cfg)
	create(t, b, "top/x", "x")
	c := raw(t, server)
	put := func(name string) {
		t.Helper()
		_, err := b.Apply(t.Context(), store.Check("top/x", 0), store.Ensure("top/f/g", []byte("folder")), store.Create("top/f/g/"+name, []byte(name)))
		must(t, err)
		if data, _, err := c.Get(cfg.Root + "/top/f/g"); err != nil || string(data) != "folder" {
			t.Errorf("after %s: the folder holds %q, %v", name, data, err)
		}
		if got := get(b, "top/f/g/"+name, store.Latest); got != name {
			t.Errorf("%s: %q", name, got)
		}
	}
	put("a")
	put("b")
	for _, step := range []struct {
		remove []string
		name   string
	}{
		{[]string{"top/f/g/a", "top/f/g/b", "top/f/g"}, "c"},
		{[]string{"top/f/g/c", "top/f/g", "top/f"}, "d"},
	} {
		for _, key := range step.remove {
			must(t, c.Delete(cfg.Root+"/"+key, -1))
		}
		put(step.name)
	}
}

// TestAFolderThatWasMadeEmptyIsNotARecord: it was a record before it was removed,
// and was made again, empty, for an operation below it.
func TestAFolderThatWasMadeEmptyIsNotARecord(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	b := open(t, cfg)
	c := raw(t, server)
	create(t, b, "top/f", "folder")
	must(t, c.Delete(cfg.Root+"/top/f", -1))
	create(t, b, "top/f/a", "x")
	_, err := b.Apply(t.Context(), store.Ensure("top/f", []byte("folder")), store.Create("top/f/x", []byte("x")))
	must(t, err)
	if data, _, err := c.Get(cfg.Root + "/top/f"); err != nil || string(data) != "folder" {
		t.Errorf("the folder holds %q, %v", data, err)
	}
}

// TestAFolderIsMadeWithItsDataWhateverElseIsBelowIt: an Ensure that was taken for
// done, since a Create is below it, does not leave it to the other operations
// that need the znode, which would make it empty.
func TestAFolderIsMadeWithItsDataWhateverElseIsBelowIt(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	c := raw(t, server)
	ensure, below := store.Ensure("top/f", []byte("folder")), store.Create("top/f/x", []byte("x"))
	deep, bump := store.Create("top/f/a/b", []byte("x")), store.Bump("top/f/a/b", []byte("x"))
	for name, ops := range map[string][]store.Op{
		"the Ensure first": {ensure, deep, below},
		"the Ensure last":  {deep, below, ensure},
		"a Bump first":     {bump, ensure, below},
		"a Bump last":      {ensure, below, bump},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, server)
			b := open(t, cfg)
			create(t, b, "top/x", "x")
			_, err := b.Apply(t.Context(), ensure)
			must(t, err)
			must(t, c.Delete(cfg.Root+"/top/f", -1))
			_, err = b.Apply(t.Context(), ops...)
			must(t, err)
			if data, _, err := c.Get(cfg.Root + "/top/f"); err != nil || string(data) != "folder" {
				t.Errorf("the folder holds %q, %v", data, err)
			}
		})
	}
}
