//go:build zookeeper && linux && long

package chaos

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"secretstore/internal/zktest"
)

// What is promised in seconds is measured and logged. The tests fail at several
// times as much, because they also run on busy machines.
const slack = 4

// bound is the --max-stale of the servers in these tests.
const bound = 6 * time.Second

// TestFaults makes one fault after the other and checks what is promised for
// each.
func TestFaults(t *testing.T) {
	l := newLab(t, 3, "--max-stale", bound.String())
	for _, c := range []struct {
		name string
		test func(*testing.T, *lab)
	}{
		{"a follower is killed", func(t *testing.T, l *lab) { losesFollower(t, l, killMember) }},
		{"a follower is paused", func(t *testing.T, l *lab) { losesFollower(t, l, pauseMember) }},
		{"a follower is cut off", func(t *testing.T, l *lab) { losesFollower(t, l, isolateMember) }},
		{"the leader is killed", func(t *testing.T, l *lab) { losesLeader(t, l, killMember) }},
		{"the leader is paused", func(t *testing.T, l *lab) { losesLeader(t, l, pauseMember) }},
		{"the leader is cut off from the other members", deposedLeader},
		{"a server is cut off", cutOffServer},
		{"ZooKeeper is stopped", func(t *testing.T, l *lab) { outage(t, l, (*zktest.Server).Kill, (*zktest.Server).Launch) }},
		{"ZooKeeper hangs", func(t *testing.T, l *lab) { outage(t, l, (*zktest.Server).Pause, (*zktest.Server).Resume) }},
		{"a server is paused", pausedServer},
		{"a seal reaches all servers", sealReaches},
		{"servers are killed while they write", killedServers},
	} {
		ok := t.Run(c.name, func(t *testing.T) {
			l.t = t
			l.settle()
			c.test(t, l)
		})
		if !ok {
			return // the state of the lab is not known now
		}
	}
}

// settle waits until everything serves.
func (l *lab) settle() {
	l.t.Helper()
	must(l.t, l.net.heal())
	for i, m := range l.members {
		l.eventually(fmt.Sprintf("member %d serves", i), m.Serves)
	}
	for _, s := range l.stores {
		s.await()
	}
}

// strike makes a fault of a member and returns a function that ends it.
func (l *lab) strike(f what, member int) (undo func()) {
	l.t.Helper()
	back, err := (&nemesis{l: l}).begin(fault{what: f, target: member})
	must(l.t, err)
	return func() { must(l.t, back()) }
}

// attach moves the servers to one member.
func (l *lab) attach(member int) {
	l.t.Helper()
	others := slices.Delete(slices.Clone(l.zkNodes), member, member+1)
	for _, s := range l.stores {
		must(l.t, l.net.isolate(s.node, others...))
	}
	for _, s := range l.stores {
		s.await()
		l.eventually("moved", func() bool { return s.get(secrets+"?list=true", noCache).status == http.StatusOK })
	}
	must(l.t, l.net.heal())
}

// losesFollower: one repetition cures every error, and nothing stalls for more
// than 5 s.
func losesFollower(t *testing.T, l *lab, f what) {
	follower := (l.leader() + 1) % len(l.members)
	l.attach(follower)
	u := startUsers(l.stores...)
	time.Sleep(500 * time.Millisecond)
	undo := l.strike(f, follower)
	time.Sleep(6 * time.Second)
	undo()
	time.Sleep(500 * time.Millisecond)
	tries := u.end()
	worst := slowest(tries)
	t.Logf("%d requests, %d of them answered 503 first; the longest wait was %v", len(tries), len(refused(tries)), worst)
	for _, try := range tries {
		if !try.fine {
			t.Errorf("not cured: %v", try)
		}
	}
	if worst.took > 5*time.Second*slack/2 {
		t.Errorf("a stall: %v", worst)
	}
}

// losesLeader: writes succeed again within 4 s after a kill. In that time the
// ensemble elects another leader and the servers find it; only the second part
// is measured. Until a paused leader is replaced there may be 503, but nothing
// hangs.
func losesLeader(t *testing.T, l *lab, f what) {
	u := startUsers(l.stores...)
	time.Sleep(time.Second)
	struck := time.Now()
	old := l.leader()
	undo := l.strike(f, old)
	l.eventually("another leader", func() bool {
		for i, m := range l.members {
			if i != old && m.Leader() {
				return true
			}
		}
		return false
	})
	elected := time.Now()
	time.Sleep(4 * time.Second * slack / 2)
	undo()
	time.Sleep(time.Second)
	tries := u.end()
	again := make(map[string]time.Duration)
	for _, try := range ofWhat(tries, "create", "update", "delete") {
		if at := try.began.Add(try.took); try.fine && at.After(elected) && again[try.server.node.name] == 0 {
			again[try.server.node.name] = max(1, at.Sub(elected))
		}
	}
	t.Logf("another leader after %v; %d requests, %d of them answered 503 first; the longest wait was %v; the first write after the election was done after %v",
		elected.Sub(struck), len(tries), len(refused(tries)), slowest(tries), again)
	for _, try := range tries {
		for _, a := range []answer{try.first, try.last} {
			if a.err != nil || a.took > 5*time.Second*slack/2 || a.status >= 500 && a.header.Get("Retry-After") == "" {
				t.Errorf("a hang, or an error other than 503 with Retry-After: %v", try)
			}
		}
	}
	for _, s := range l.stores {
		if took := again[s.node.name]; took == 0 || took > 4*time.Second*slack {
			t.Errorf("%s writes again after %v", s.node.name, took)
		}
	}
}

// deposedLeader cuts the leader off from the other members, but not from the
// servers. For a while it still believes that it leads, and answers reads. A
// linearizable read must never return what was replaced through the others.
func deposedLeader(t *testing.T, l *lab) {
	for round := range 2 {
		path := fmt.Sprintf("deposed/%d", round)
		if a := put(l.stores[0], path, "0"); a.status != http.StatusCreated {
			t.Fatal(a)
		}
		leader := l.leader()
		l.attach(leader)
		r := newRun(l.stores, "deposed")
		var reading sync.WaitGroup
		stop := make(chan struct{})
		for i := range l.stores {
			for range 2 {
				reading.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(5 * time.Millisecond):
						}
						r.read(op{kind: read, key: path, server: i})
					}
				})
			}
		}
		others := slices.Delete(slices.Clone(l.zkNodes), leader, leader+1)
		must(t, l.net.isolate(l.zkNodes[leader], others...))
		// A leader that is cut off stays one for the sync limit. How long the
		// others then take to elect another is not measured.
		written, cut := 0, time.Now()
		var elected, first time.Duration
		for time.Since(cut) < 7*time.Second || time.Since(cut) < patience && (first == 0 || time.Since(cut) < first+2*time.Second) {
			for i, m := range l.members {
				if elected == 0 && i != leader && m.Leader() {
					elected = time.Since(cut)
				}
			}
			for i := range l.stores {
				o := op{kind: update, key: path, server: i, value: fmt.Sprintf("w%d", written+1), begin: r.now(), end: never}
				switch a := patch(l.stores[i], path, o.value); {
				case a.status == http.StatusNoContent:
					o.end = r.now()
					if first == 0 && elected > 0 {
						first = time.Since(cut)
					}
					fallthrough
				case strings.Contains(a.body, "outcome unknown"):
					written++
					r.add(o)
				}
			}
		}
		must(t, l.net.heal())
		l.settle()
		close(stop)
		reading.Wait()
		t.Logf("round %d: another leader after at most %v, a write after %v; %d writes, %v", round, elected, first, written, r.counts)
		if first == 0 || first-elected > 2*time.Second*slack {
			t.Errorf("a leader after %v, and a write after %v", elected, first)
		}
		history := append(r.history, op{kind: create, key: path, value: "0", begin: -2, end: -1})
		if err := checkStrict(history); err != nil || written == 0 {
			t.Errorf("%d writes, linearizable: %v", written, err)
		}
	}
}

// remember makes every server keep a secret in memory. The notice of a change
// drops it, so it is given time to arrive first.
func (l *lab) remember(path string) {
	l.t.Helper()
	time.Sleep(500 * time.Millisecond)
	for _, s := range l.stores {
		if a := s.get(secrets + path); a.status != http.StatusOK {
			l.t.Fatal(a)
		}
	}
}

// cutOffServer: a server without ZooKeeper answers from memory for --max-stale
// and no longer, with a growing Age. It is back to normal within 2 s.
func cutOffServer(t *testing.T, l *lab) {
	s, other := l.stores[1], l.stores[0]
	path := "cutoff/a"
	if a := put(other, path, "1"); a.status != http.StatusCreated {
		t.Fatal(a)
	}
	l.remember(path)
	must(t, l.net.isolate(s.node, l.zkNodes...))
	cut := time.Now()
	if a := patch(other, path, "2"); a.status != http.StatusNoContent {
		t.Fatal(a)
	}
	var last, aged time.Time
	for time.Since(cut) < bound+4*time.Second {
		asked := time.Now()
		a := s.get(secrets + path)
		age, says := a.age()
		switch {
		case a.status == http.StatusOK:
			last = asked
			if says && aged.IsZero() {
				aged = asked
			}
			if age > bound || !says && asked.Sub(cut) > 6*time.Second {
				t.Errorf("%v after the cut: %v, age %v", asked.Sub(cut), a, age)
			}
		case a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.took > time.Second*slack:
			t.Errorf("%v after the cut: %v", asked.Sub(cut), a)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("with an Age from %v after the cut, last served %v after it", aged.Sub(cut), last.Sub(cut))
	if over := last.Sub(cut); aged.IsZero() || over > bound+time.Second {
		t.Errorf("served from memory for %v", over)
	}
	for _, a := range []answer{s.get(secrets+path, noCache), s.get("/ready"), s.get(api + "/ping/backends/default"), patch(s, path, "3")} {
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("cut off: %v", a)
		}
	}
	must(t, l.net.heal())
	l.backToNormal(time.Now(), path, "2")
}

// backToNormal waits until every server reads and writes, and logs how long
// that took.
func (l *lab) backToNormal(since time.Time, path, value string) {
	l.t.Helper()
	for _, s := range l.stores {
		l.eventually("normal again", func() bool {
			a := s.get(secrets+path, noCache)
			got, _ := a.value()
			if a.status == http.StatusOK && got != value {
				l.t.Fatalf("%s: %q, want %q", s.node.name, got, value)
			}
			_, aged := s.get(secrets + path).age()
			return a.status == http.StatusOK && !aged && s.get("/ready").status == http.StatusOK &&
				s.get(api+"/ping/backends/default").status == http.StatusOK && patch(s, path, value).status == http.StatusNoContent
		})
		took := time.Since(since)
		l.t.Logf("%s is back to normal after %v", s.node.name, took)
		if took > 2*time.Second*slack {
			l.t.Errorf("%s was back to normal only after %v", s.node.name, took)
		}
	}
}

// outage stops all of ZooKeeper, under load, for longer than a session and
// --max-stale.
func outage(t *testing.T, l *lab, away, back func(*zktest.Server)) {
	path := "outage/a"
	if a := put(l.stores[0], path, "1"); a.status != http.StatusCreated && a.status != http.StatusConflict {
		t.Fatal(a)
	}
	l.remember(path)
	u := startUsers(l.stores...)
	time.Sleep(500 * time.Millisecond)
	for _, m := range l.members {
		away(m)
	}
	began := time.Now()
	var looking sync.WaitGroup
	for _, s := range l.stores {
		looking.Go(func() { memoryDuring(t, s, path, began) })
		looking.Go(func() { refusedDuring(t, s, path, began) })
	}
	looking.Wait()
	for _, m := range l.members {
		back(m)
	}
	for _, m := range l.members {
		l.eventually("ZooKeeper serves", m.Serves)
	}
	l.backToNormal(time.Now(), path, "1")
	for _, try := range u.end() {
		late := try.began.After(began.Add(known)) && try.first.took > time.Second*slack
		if try.first.err != nil || try.first.status >= 500 && (try.first.status != 503 || try.first.header.Get("Retry-After") == "") || late {
			t.Errorf("%v after: %v", try.began.Sub(began), try)
		}
	}
}

// known is when all servers have noticed an outage, including requests that
// were waiting for an answer.
const known = 6 * time.Second

// memoryDuring reads what is in memory during an outage.
func memoryDuring(t *testing.T, s *server, path string, began time.Time) {
	var served, aged time.Duration
	for time.Since(began) < known+bound {
		since := time.Since(began)
		a := s.get(secrets + path)
		age, says := a.age()
		switch {
		case a.status == http.StatusOK:
			served, aged = since, max(aged, age)
			if got, err := a.value(); err != nil || got != "1" || age > bound || !says && since > known {
				t.Errorf("%v after: %v, age %v", since, a, age)
			}
		case a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.took > time.Second*slack:
			t.Errorf("%v after: %v", since, a)
		}
		if st := s.get(api + "/seal-status/default"); !strings.Contains(st.body, `"sealed":false`) {
			t.Errorf("%v after: %v", since, st)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%s served from memory until %v after, at most with an Age of %v", s.node.name, served, aged)
	// It counts from when the server last heard of ZooKeeper, which may be before.
	if aged < bound-2*time.Second || served > bound+time.Second {
		t.Errorf("served from memory until %v after, at most with an Age of %v, with a --max-stale of %v", served, aged, bound)
	}
}

// refusedDuring asks during an outage for what only ZooKeeper knows.
func refusedDuring(t *testing.T, s *server, path string, began time.Time) {
	var slowest time.Duration
	for time.Since(began) < known+bound {
		for _, ask := range []func() answer{
			func() answer { return s.get("/ready") },
			func() answer { return s.get(api + "/ping/backends/default") },
			func() answer { return s.get(secrets+path, noCache) },
			func() answer { return s.get(secrets + path + "/none") },
			func() answer { return s.get(secrets+"?list=true", noCache) },
			func() answer { return patch(s, path, "2") },
		} {
			asked := time.Now()
			a := ask()
			since := asked.Sub(began)
			if since > known {
				slowest = max(slowest, a.took)
			}
			if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || since > known && a.took > time.Second*slack {
				t.Errorf("%v after: %v", since, a)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("%s refused all else within %v", s.node.name, slowest)
}

// pausedServer changes secrets while a server is paused. Requests that wait for
// it must get the new values when it continues.
func pausedServer(t *testing.T, l *lab) {
	first, s := l.stores[0], l.stores[2]
	for round := range 3 {
		folder := fmt.Sprintf("paused/%d", round)
		if a := put(first, folder+"/a", "1"); a.status != http.StatusCreated {
			t.Fatal(a)
		}
		l.remember(folder + "/a")
		for range 2 { // so that the names are kept in memory
			if names, err := s.get(secrets + folder + "?list=true").names(); err != nil || len(names) != 1 {
				t.Fatal(names, err)
			}
		}
		s.pause()
		time.Sleep(2 * time.Second)
		if a := patch(first, folder+"/a", "2"); a.status != http.StatusNoContent {
			t.Error(a)
		}
		if a := put(first, folder+"/b", "1"); a.status != http.StatusCreated {
			t.Error(a)
		}
		var asking sync.WaitGroup
		for range 16 {
			asking.Go(func() {
				if a := s.get(secrets + folder + "/a"); !strings.Contains(a.body, `"2"`) {
					t.Errorf("an old value: %v", a)
				}
			})
			asking.Go(func() {
				if a := s.get(secrets + folder + "?list=true"); !strings.Contains(a.body, `"b"`) {
					t.Errorf("an old list: %v", a)
				}
			})
		}
		time.Sleep(200 * time.Millisecond)
		s.resume()
		asking.Wait()
	}
}

// sealReaches seals through one server while another is running, paused, or cut
// off.
func sealReaches(t *testing.T, l *lab) {
	first, s, path := l.stores[0], l.stores[2], "sealed/a"
	if a := put(first, path, "1"); a.status != http.StatusCreated {
		t.Fatal(a)
	}
	sealed := func(a answer) bool {
		return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "is sealed")
	}
	for _, c := range []struct {
		name        string
		leave, back func() error
		away        time.Duration
		asleep      bool
	}{
		{name: "there"},
		{"paused", func() error { s.pause(); return nil }, func() error { s.resume(); return nil }, 2 * time.Second, true},
		{"paused for longer than a session", func() error { s.pause(); return nil }, func() error { s.resume(); return nil }, 9 * time.Second, true},
		{"cut off", func() error { return l.net.isolate(s.node, l.zkNodes...) }, l.net.heal, 7 * time.Second, false},
	} {
		l.remember(path)
		if c.leave != nil {
			must(t, c.leave())
		}
		sealing := time.Now()
		if a := first.request("PUT", api+"/seal/default", ""); a.status != http.StatusOK {
			t.Fatal(a)
		}
		time.Sleep(c.away)
		var asking sync.WaitGroup
		for range 16 { // a paused server finds them waiting when it continues
			asking.Go(func() {
				for began := time.Now(); ; {
					a := s.get(secrets + path)
					_, aged := a.age()
					switch {
					case sealed(a):
						return
					case c.back != nil && a.status == http.StatusOK && (c.asleep || !aged):
						t.Errorf("%s: served after it was sealed elsewhere: %v", c.name, a)
						return
					case a.err != nil || time.Since(began) > patience:
						t.Errorf("%s: the seal does not arrive: %v", c.name, a)
						return
					}
				}
			})
		}
		if c.back != nil {
			time.Sleep(200 * time.Millisecond)
			must(t, c.back())
			sealing = time.Now()
		}
		asking.Wait()
		took := time.Since(sealing)
		t.Logf("%s: sealed after %v", c.name, took)
		if c.back == nil && took > time.Second*slack {
			t.Errorf("the seal took %v to arrive", took)
		}
		for _, other := range l.stores {
			l.eventually("sealed everywhere", func() bool { return sealed(other.get(secrets + path)) })
		}
		if a := first.request("PUT", api+"/auto-unseal/default", ""); a.status != http.StatusOK {
			t.Fatal(a)
		}
		for _, other := range l.stores {
			other.await()
		}
	}
}

// killedServers kills one server after the other during writes. What was
// acknowledged must be there, and nothing may be torn.
func killedServers(t *testing.T, l *lab) {
	for round := range 6 {
		victim := round % len(l.stores)
		r := newRun(l.stores, fmt.Sprintf("killed%d", round))
		end := r.begin(uint64(round))
		time.Sleep(time.Duration(500+100*round) * time.Millisecond)
		undo := l.strike(killServer, victim)
		undo()
		l.stores[victim].await()
		end()
		must(t, r.readAll())
		t.Logf("%d operations: %v", len(r.history), r.counts)
		if err := checkStrict(r.history); err != nil || len(r.problems) > 0 {
			t.Errorf("%v, %v", err, r.problems)
		}
	}
	v := newAttacker(t, l)
	announced := func(n int) func() bool {
		return func() bool {
			names, _, err := v.conn.Children(root + "/nodes")
			return err == nil && len(names) == n
		}
	}
	l.eventually("all servers are announced", announced(len(l.stores)))
	killed := time.Now()
	undo := l.strike(killServer, 2)
	l.eventually("one server less is announced", announced(len(l.stores)-1))
	t.Logf("the znode of a killed server went after %v", time.Since(killed))
	undo()
	l.eventually("all servers are announced again", announced(len(l.stores)))
}
