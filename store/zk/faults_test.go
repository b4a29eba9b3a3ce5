//go:build zookeeper

package zk_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

// patience is for what happens "soon".
const patience = 3 * time.Minute

// inTime is what a caller may have to wait at most: 4 s, on a machine that has
// little time for it. (That the limit is exact is tested with a clock of the
// test's own.)
const inTime = 15 * time.Second

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

func create(t testing.TB, b store.Backend, key store.Key, data string) (version store.Version) {
	t.Helper()
	unknown := false // whether an attempt before has taken effect
	eventually(t, "created "+key, func() bool {
		versions, err := b.Apply(t.Context(), store.Create(key, []byte(data)))
		switch {
		case err == nil:
			version = versions[0]
		case unknown && errors.Is(err, store.ErrExists):
			var n store.Node
			n, err = b.Get(t.Context(), key, store.Latest)
			version = n.Version
		case !errors.Is(err, store.ErrUnavailable):
			t.Fatalf("create %s: %v", key, err)
		}
		unknown = unknown || errors.Is(err, store.ErrOutcomeUnknown)
		return err == nil
	})
	return version
}

func get(b store.Backend, key store.Key, c store.Consistency) string {
	n, err := b.Get(context.Background(), key, c)
	if err != nil {
		return err.Error()
	}
	return string(n.Data)
}

// unavailable demands that all calls fail as they should, each in time.
func unavailable(t *testing.T, b store.Backend, version store.Version) {
	t.Helper()
	calls := map[string]func() error{
		"Get": func() error {
			_, err := b.Get(t.Context(), "not/cached", store.Cached)
			return err
		},
		"Get Latest": func() error {
			_, err := b.Get(t.Context(), "k", store.Latest)
			return err
		},
		"Children": func() error {
			_, err := b.Children(t.Context(), "", store.Latest)
			return err
		},
		"Apply": func() error {
			_, err := b.Apply(t.Context(), store.Set("k", []byte("during the outage"), version))
			return err
		},
		"Ping": func() error { return b.Ping(t.Context()) },
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			began := time.Now()
			if err := call(); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s: %v, want ErrUnavailable", name, err)
			}
			if took := time.Since(began); took > inTime {
				t.Errorf("%s took %v", name, took)
			}
		})
	}
	wg.Wait()
}

func TestHungZooKeeperFailsCallsInTimeAndIsUsedAgain(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	cfg := prompt(t, server.Addr())
	cfg.SessionTimeout = time.Second // it will have expired
	b := open(t, cfg)
	v := create(t, b, "k", "before")
	server.Pause()
	unavailable(t, b, v)
	unavailable(t, b, v)
	server.Resume()
	eventually(t, "in use again", func() bool { return b.Ping(t.Context()) == nil })
	create(t, b, "after", "x")
	if got := get(b, "k", store.Latest); got != "before" && got != "during the outage" {
		t.Errorf("k holds %q", got)
	}
}

func TestZooKeeperMayStartLaterAndRestart(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	server.Stop()
	b := open(t, prompt(t, server.Addr()))
	unavailable(t, b, 0)
	server.Restart()
	v := create(t, b, "k", "x")
	server.Kill()
	unavailable(t, b, v)
	server.Restart()
	eventually(t, "back", func() bool { return get(b, "k", store.Latest) == "x" })
	create(t, b, "l", "x")
}

func TestCloseDuringAnOutageReturns(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	b := open(t, prompt(t, server.Addr()))
	create(t, b, "k", "x")
	server.Pause()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _, _ = b.Get(t.Context(), "l", store.Latest) })
		wg.Go(func() { _, _ = b.Apply(t.Context(), store.Create("l", []byte("x"))) })
	}
	began := time.Now()
	_ = b.Close()
	if took := time.Since(began); took > 2*inTime {
		t.Errorf("Close took %v", took)
	}
	wg.Wait()
}

// TestWhatIsReportedIsTrue lets writers of keys of their own run through
// everything that can happen to a connection, and then checks which keys exist.
func TestWhatIsReportedIsTrue(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	p := newProxy(t, server.Addr())
	cfg := prompt(t, p.Addr())
	b := open(t, cfg)
	create(t, b, "shared", "x")
	stop := make(chan struct{})
	var writers sync.WaitGroup
	const n = 16
	var done atomic.Bool
	reports := make([]map[string]error, n)
	for w := range n {
		reports[w] = make(map[string]error)
		writers.Go(func() { write(t, b, w, reports[w], &done, stop) })
	}
	makeTrouble(p, server)
	eventually(t, "a write takes effect", done.Load) // a busy machine may have been too slow for one between two cuts
	close(stop)
	writers.Wait()
	check := open(t, zk.Config{Servers: []string{server.Addr()}, Root: cfg.Root, Log: cfg.Log})
	counts := make(map[string]int)
	for _, report := range reports {
		for key, said := range report {
			counts[compare(t, check, key, said)]++
		}
	}
	t.Logf("reported: %v", counts)
	if counts["done"] == 0 || counts["not done"] == 0 {
		t.Errorf("nothing was tried: %v", counts)
	}
}

// write creates keys, every fourth in a transaction that must be refused, and
// sets done when one is there.
func write(t *testing.T, b store.Backend, w int, report map[string]error, done *atomic.Bool, stop chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		key := fmt.Sprintf("w%d/%d/k%d", w, i/50, i)
		ops := []store.Op{store.Ensure("folder", []byte("f")), store.Create(key, []byte(key))}
		if i%4 == 3 {
			ops = append(ops, store.Create("shared", []byte("y")))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(3000))*time.Millisecond)
		_, report[key] = b.Apply(ctx, ops...)
		cancel()
		if report[key] == nil {
			done.Store(true)
		}
		if err := report[key]; len(ops) == 3 && (err == nil || !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrUnavailable)) {
			t.Errorf("refused transaction: %v", err)
		}
	}
}

// makeTrouble cuts and pauses connections 30 times, at random moments.
func makeTrouble(p *proxy, server *zktest.Server) {
	for i := range 30 {
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		switch {
		case i == 15:
			server.Kill()
			server.Restart()
		case i%10 == 9:
			server.Pause()
			time.Sleep(time.Duration(rand.IntN(2500)) * time.Millisecond)
			server.Resume()
		case i%2 == 0:
			p.CutReply(rand.IntN(40))
		default:
			p.Cut()
		}
	}
}

// compare compares what was reported about key with the storage.
func compare(t *testing.T, b store.Backend, key string, said error) string {
	n, err := b.Get(t.Context(), key, store.Latest)
	for errors.Is(err, store.ErrUnavailable) {
		n, err = b.Get(t.Context(), key, store.Latest)
	}
	there := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) || there && string(n.Data) != key {
		t.Errorf("%s: %q, %v", key, n.Data, err)
	}
	switch {
	case said == nil && !there:
		t.Errorf("%s was acknowledged and is not there", key)
		return "lost"
	case said == nil:
		return "done"
	case errors.Is(said, store.ErrOutcomeUnknown):
		return "unknown"
	case there:
		t.Errorf("%s is there, but: %v", key, said)
		return "undead"
	case errors.Is(said, store.ErrUnavailable), errors.Is(said, store.ErrExists):
		return "not done"
	}
	t.Errorf("%s: %v", key, said)
	return "odd"
}

func TestTheOutcomeAfterALostReplyIsFound(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	p := newProxy(t, server)
	b := open(t, config(t, p.Addr()))
	v := create(t, b, "k", "0")
	for i := range 10 {
		p.CutReply(i)
		versions, err := b.Apply(t.Context(), store.Set("k", fmt.Append(nil, i), v), store.Create(fmt.Sprintf("n%d", i), []byte("x")))
		if err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
		n, err := b.Get(t.Context(), "k", store.Latest)
		if err != nil || n.Version != versions[0] || string(n.Data) != fmt.Sprint(i) {
			t.Fatalf("write %d: %q at %d, %v, want version %d", i, n.Data, n.Version, err, versions[0])
		}
		v = versions[0]
	}
}

func TestEnsemble(t *testing.T) {
	t.Parallel()
	servers := zktest.StartEnsemble(t, 3)
	t.Run("Latest sees what was written through another member", func(t *testing.T) { acrossMembers(t, servers) })
	t.Run("survives the loss of the connected member", func(t *testing.T) { losesMember(t, servers) })
	t.Run("without a quorum calls fail in time", func(t *testing.T) { losesQuorum(t, servers) })
}

// acrossMembers writes and reads through two followers, of which one has just
// learned from the leader what the other has yet to learn.
func acrossMembers(t *testing.T, servers []*zktest.Server) {
	var followers []string
	for _, s := range servers {
		if !s.Leader() {
			followers = append(followers, s.Addr())
		}
	}
	cfg := config(t, followers[0])
	a := open(t, cfg)
	cfg.Servers = followers[1:]
	b := open(t, cfg)
	v := create(t, a, "k", "0")
	for i := 1; i <= 200; i++ {
		versions, err := a.Apply(t.Context(), store.Set("k", fmt.Append(nil, i), v), store.Create(fmt.Sprintf("f/%d", i), []byte("x")))
		if err != nil {
			t.Fatal(err)
		}
		v = versions[0]
		if n, err := b.Get(t.Context(), "k", store.Latest); err != nil || string(n.Data) != fmt.Sprint(i) {
			t.Fatalf("%d was written, %q is read: %v", i, n.Data, err)
		}
		if l, err := b.Children(t.Context(), "f", store.Latest); err != nil || len(l.Names) != i {
			t.Fatalf("%d names, want %d: %v", len(l.Names), i, err)
		}
		a, b = b, a
	}
}

func losesQuorum(t *testing.T, servers []*zktest.Server) {
	b := open(t, prompt(t, zktest.Addrs(servers)...))
	v := create(t, b, "k", "x")
	for _, s := range servers[:2] {
		s.Kill()
	}
	// The member that is left answers reads until it has noticed.
	eventually(t, "noticed", func() bool { return b.Ping(t.Context()) != nil })
	unavailable(t, b, v)
	unavailable(t, b, v)
	for _, s := range servers[:2] {
		s.Launch()
	}
	create(t, b, "after", "x")
}

func losesMember(t *testing.T, servers []*zktest.Server) {
	for name, loss := range map[string][2]func(*zktest.Server){
		"killed": {(*zktest.Server).Kill, (*zktest.Server).Restart},
		"hung":   {(*zktest.Server).Pause, (*zktest.Server).Resume},
	} {
		for _, leader := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the leader: %v", name, leader), func(t *testing.T) {
				order := append([]*zktest.Server(nil), servers...)
				for i, s := range order {
					if s.Leader() == leader {
						order[0], order[i] = order[i], order[0]
						break
					}
				}
				// Only the first member is reachable until the backend is connected.
				var proxies []*proxy
				var addrs []string
				for i, s := range order {
					p := newProxy(t, s.Addr())
					p.Refuse(i > 0)
					proxies, addrs = append(proxies, p), append(addrs, p.Addr())
				}
				b := open(t, prompt(t, addrs...))
				create(t, b, "k", "x")
				for _, p := range proxies {
					p.mu.Lock()
					p.refuse = false
					p.mu.Unlock()
				}
				loss[0](order[0])
				restore := sync.OnceFunc(func() { loss[1](order[0]) })
				defer restore() // also for the tests that follow
				create(t, b, "during", "x")
				eventually(t, "read", func() bool { return get(b, "k", store.Latest) == "x" })
				restore()
				create(t, b, "after", "x")
			})
		}
	}
}
