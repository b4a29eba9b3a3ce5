//go:build zookeeper

package zk_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

func TestMemoryIsServedWithItsAgeWhileZooKeeperIsAway(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) { servedWithAge(t, (*zktest.Server).Kill, (*zktest.Server).Restart) })
	t.Run("hung", func(t *testing.T) { servedWithAge(t, (*zktest.Server).Pause, (*zktest.Server).Resume) })
}

func servedWithAge(t *testing.T, away, back func(*zktest.Server)) {
	server := zktest.Start(t)
	cfg := prompt(t, server.Addr())
	cfg.MaxStale = 15 * time.Second // a busy machine needs some to notice
	b := openReady(t, cfg)
	create(t, b, "f/k", "x")
	if got := get(b, "f/k", store.Cached); got != "x" {
		t.Fatal(got)
	}
	if _, err := b.Children(t.Context(), "f", store.Cached); err != nil {
		t.Fatal(err)
	}
	if got := get(b, "f/none", store.Cached); got != store.ErrNotFound.Error() {
		t.Fatal(got)
	}
	away(server)
	eventually(t, "an age", func() bool {
		n, err := b.Get(t.Context(), "f/k", store.Cached)
		if err != nil || string(n.Data) != "x" {
			t.Fatalf("%q, %v", n.Data, err)
		}
		return n.Age > 0
	})
	if _, err := b.Get(t.Context(), "f/none", store.Cached); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a record that was missing: %v, want ErrUnavailable", err)
	}
	if l, err := b.Children(t.Context(), "f", store.Cached); err != nil || len(l.Names) != 1 || l.Age <= 0 || l.Age > cfg.MaxStale {
		t.Errorf("Children: %q, age %v, %v", l.Names, l.Age, err)
	}
	eventually(t, "too old", func() bool {
		n, err := b.Get(t.Context(), "f/k", store.Cached)
		if err == nil && n.Age > cfg.MaxStale {
			t.Fatalf("served at age %v", n.Age)
		}
		return errors.Is(err, store.ErrUnavailable)
	})
	back(server)
	eventually(t, "fresh again", func() bool {
		n, err := b.Get(t.Context(), "f/k", store.Cached)
		return err == nil && n.Age == 0
	})
}

// TestAServerThatStartsReadsBeforeItFollowsChanges: that takes time, and there
// is nothing in memory yet that could be old.
func TestAServerThatStartsReadsBeforeItFollowsChanges(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := prompt(t, server)
	create(t, openReady(t, cfg), "k", "x")
	// More than once, for a machine that has too much else to do.
	eventually(t, "an answer before it follows changes", func() bool {
		b := open(t, cfg)
		n, err := b.Get(t.Context(), "k", store.Latest)
		early := !b.Hears()
		if err == nil && (string(n.Data) != "x" || n.Age != 0) {
			t.Fatalf("%q, age %v", n.Data, n.Age)
		}
		return err == nil && early
	})
	eventually(t, "the first report of a znode before it follows changes", func() bool {
		b := open(t, cfg)
		if b.Ping(t.Context()) != nil {
			return false
		}
		early := make(chan bool, 1)
		err := b.WatchZnode(t.Context(), cfg.Root+"/k", func([]byte, error) {
			select {
			case early <- !b.Hears():
			default:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return <-early
	})
}

func TestNothingStaleIsServedWithoutMaxStale(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	cfg := prompt(t, server.Addr())
	cfg.MaxStale = 0
	b := openReady(t, cfg)
	create(t, b, "k", "x")
	_ = get(b, "k", store.Cached)
	server.Kill()
	eventually(t, "refused", func() bool {
		n, err := b.Get(t.Context(), "k", store.Cached)
		if err == nil && n.Age != 0 {
			t.Fatalf("served at age %v", n.Age)
		}
		return errors.Is(err, store.ErrUnavailable)
	})
}

// TestAfterAnOutageNothingOldIsServedAsFresh changes records while one server
// is cut off, a few, or more than the change record repeats.
func TestAfterAnOutageNothingOldIsServedAsFresh(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	for _, more := range []int{0, 1500} {
		t.Run(fmt.Sprint(more, " more changes"), func(t *testing.T) {
			p := newProxy(t, server)
			cfg := prompt(t, server)
			a := openReady(t, zk.Patient(cfg))
			cfg.Servers = []string{p.Addr()}
			b := openReady(t, cfg)
			v := create(t, a, "f/k", "0")
			for round := 1; round <= 5; round++ {
				eventually(t, "remembered", func() bool { return get(b, "f/k", store.Cached) == fmt.Sprint(round-1) })
				_, _ = b.Children(t.Context(), "f", store.Cached)
				_ = get(b, fmt.Sprintf("f/new%d", round), store.Cached)
				cutOff(t, p, b, "f/k")
				versions, err := a.Apply(t.Context(), store.Set("f/k", fmt.Append(nil, round), v), store.Create(fmt.Sprintf("f/new%d", round), []byte("x")))
				if err != nil {
					t.Fatal(err)
				}
				v = versions[0]
				for i := range more / 500 {
					var ops []store.Op
					for j := range 500 {
						ops = append(ops, store.Create(fmt.Sprintf("g/%d-%d-%d", round, i, j), []byte("x")))
					}
					if _, err := a.Apply(t.Context(), ops...); err != nil {
						t.Fatal(err)
					}
				}
				p.Refuse(false)
				eventually(t, "fresh", func() bool {
					n, err := b.Get(t.Context(), "f/k", store.Cached)
					if err == nil && n.Age == 0 && string(n.Data) != fmt.Sprint(round) {
						t.Fatalf("round %d: %q served as fresh", round, n.Data)
					}
					return err == nil && n.Age == 0
				})
				eventually(t, "listed", func() bool {
					l, err := b.Children(t.Context(), "f", store.Cached)
					if err == nil && l.Age == 0 && len(l.Names) != round+1 {
						t.Fatalf("round %d: children %q", round, l.Names)
					}
					return err == nil && l.Age == 0
				})
				eventually(t, "the new record", func() bool {
					n, err := b.Get(t.Context(), fmt.Sprintf("f/new%d", round), store.Cached)
					if err == nil && string(n.Data) != "x" || errors.Is(err, store.ErrNotFound) {
						t.Fatalf("round %d: new record: %q, %v", round, n.Data, err)
					}
					return err == nil
				})
			}
		})
	}
}

// cutOff refuses all connections, and returns when key is served from memory
// with an age.
func cutOff(t *testing.T, p *proxy, b store.Backend, key store.Key) {
	t.Helper()
	p.Refuse(true)
	eventually(t, "served with an age", func() bool {
		n, err := b.Get(t.Context(), key, store.Cached)
		if err != nil {
			// The feed reported its last change only after it had been read:
			// once more.
			p.Refuse(false)
			eventually(t, "back", func() bool { return b.Ping(t.Context()) == nil })
			_ = get(b, key, store.Cached)
			p.Refuse(true)
		}
		return n.Age > 0
	})
}

// TestReadersNeverKeepAReplacedRecord reads in the face of writes: whatever is
// remembered in the end must be the end.
func TestReadersNeverKeepAReplacedRecord(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	a, b := openReady(t, cfg), openReady(t, cfg)
	v := create(t, a, "k", "0")
	done := make(chan struct{})
	ended := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				select {
				case <-done:
					return
				default:
					_ = get(b, "k", store.Cached)
					_ = get(a, "k", store.Cached)
					time.Sleep(20 * time.Microsecond)
				}
			}
		}()
	}
	last := 0
	for i := 1; i <= 200; i++ {
		versions, err := a.Apply(t.Context(), store.Set("k", fmt.Append(nil, i), v))
		if err != nil {
			t.Fatal(err)
		}
		v, last = versions[0], i
		if got := get(a, "k", store.Cached); got != fmt.Sprint(i) {
			t.Fatalf("the writer reads %s after %d", got, i)
		}
	}
	close(done)
	for range 4 {
		<-ended
	}
	eventually(t, "the last one", func() bool { return get(b, "k", store.Cached) == fmt.Sprint(last) })
	for range 100 {
		if got := get(b, "k", store.Cached); got != fmt.Sprint(last) {
			t.Fatalf("%s comes back", got)
		}
	}
}
