//go:build zookeeper && linux

package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"secretstore/internal/zktest"
)

// fault is one thing that goes wrong, and is put right again.
type fault struct {
	at, until time.Duration // since the start of the run
	what      what
	target    int // a member or a server; of leaders, who leads then
}

type what int

const (
	killMember what = iota
	pauseMember
	killLeader
	pauseLeader
	isolateMember
	isolateLeader
	muteMember // it hears the others, and is not heard
	splitOff   // a member and a server on one side, all others on the other
	killServer
	pauseServer
	isolateServer
	loseMember // one server does not reach one member
	kinds
)

func (w what) String() string {
	return [kinds]string{"kill member", "pause member", "kill the leader", "pause the leader", "isolate member", "isolate the leader",
		"mute member", "split off member and server", "kill server", "pause server", "isolate server", "cut server from member"}[w]
}

// part says what a fault is about, so that no two at a time are about the same:
// the processes of one kind, or the network.
func (w what) part() string {
	switch w {
	case killMember, pauseMember, killLeader, pauseLeader:
		return "members"
	case killServer, pauseServer:
		return "servers"
	}
	return "network"
}

// plan makes the schedule of a run from its seed.
func plan(seed uint64, length time.Duration) []fault {
	random := rand.New(rand.NewPCG(seed, 0))
	free := make(map[string]time.Duration)
	var faults []fault
	for at := 2 * time.Second; at < length; at += span(random, 200*time.Millisecond, 3*time.Second) {
		f := fault{at: at, what: what(random.IntN(int(kinds))), target: random.IntN(3)}
		f.until = at + span(random, 300*time.Millisecond, 8*time.Second)
		if part := f.what.part(); free[part] <= at {
			free[part] = f.until + 300*time.Millisecond
			faults = append(faults, f)
		}
	}
	return faults
}

func span(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// nemesis carries out a plan. It has one goroutine.
type nemesis struct {
	l     *lab
	start time.Time
	down  [3]bool // members that are killed, paused or cut off now
}

// step is the beginning or the end of a fault.
type step struct {
	at time.Duration
	do func() error
}

// run returns when all faults have ended.
func (n *nemesis) run(t testing.TB, faults []fault) {
	var steps []step
	for _, f := range faults {
		undo := func() error { return nil }
		steps = append(steps, step{f.at, func() (err error) {
			if f.what.disturbs() && !n.whole() {
				t.Logf("%6.2fs: no %v %d: a member is still catching up", f.at.Seconds(), f.what, f.target)
				return nil
			}
			t.Logf("%6.2fs to %6.2fs: %v %d", f.at.Seconds(), f.until.Seconds(), f.what, f.target)
			undo, err = n.begin(f)
			return err
		}}, step{f.until, func() error { return undo() }})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	for _, s := range steps {
		time.Sleep(s.at - time.Since(n.start))
		if err := s.do(); err != nil {
			t.Errorf("nemesis: %v", err)
		}
	}
}

// disturbs says whether the fault is one of a member, as seen by the others.
func (w what) disturbs() bool { return w < killServer }

// whole says whether every member serves that is not being disturbed. Where one
// is still catching up, ZooKeeper itself may lose what it has acknowledged if its
// leader goes now: the member has taken over the leader's epoch, but not yet its
// transactions, wins the election, and has the others drop theirs (seen with
// 3.8.0; no client can help it).
func (n *nemesis) whole() bool {
	for i, m := range n.l.members {
		if !n.down[i] && !m.Serves() {
			return false
		}
	}
	return true
}

// begin makes a fault, and returns what ends it.
func (n *nemesis) begin(f fault) (undo func() error, err error) {
	l := n.l
	target := f.target
	switch f.what {
	case killLeader, pauseLeader, isolateLeader:
		if i := slices.IndexFunc(l.members, (*zktest.Server).Leader); i >= 0 {
			target = i
		}
	}
	member, server := l.members[target], l.stores[target%len(l.stores)]
	if f.what.disturbs() {
		n.down[target] = true
		defer func() {
			end := undo
			undo = func() error { n.down[target] = false; return end() }
		}()
	}
	heal := l.net.heal
	switch f.what {
	case killMember, killLeader:
		member.Kill()
		return func() error { member.Launch(); return nil }, nil
	case pauseMember, pauseLeader:
		member.Pause()
		return func() error { member.Resume(); return nil }, nil
	case isolateMember, isolateLeader:
		return heal, l.net.isolate(l.zkNodes[target], l.net.nodes...)
	case muteMember:
		return heal, l.net.cut(l.zkNodes[target], l.net.nodes...)
	case splitOff:
		a, b := l.zkNodes[target], server.node
		rest := slices.DeleteFunc(slices.Clone(l.net.nodes), func(n node) bool { return n == a || n == b })
		if err := l.net.isolate(a, rest...); err != nil {
			return heal, err
		}
		return heal, l.net.isolate(b, rest...)
	case killServer:
		server.touched.Add(1)
		server.kill()
		server.settled.Store(false)
		return func() error { defer server.touched.Add(1); return server.start() }, nil
	case pauseServer:
		server.touched.Add(1)
		server.pause()
		return func() error { defer server.touched.Add(1); server.resume(); return nil }, nil
	case isolateServer:
		return heal, l.net.isolate(server.node, l.zkNodes...)
	case loseMember:
		return heal, l.net.isolate(server.node, l.zkNodes[target])
	}
	return nil, fmt.Errorf("no such fault: %d", f.what)
}
