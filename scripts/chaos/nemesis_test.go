//go:build zookeeper && linux

package chaos

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"secretstore/internal/zktest"
)

// fault is one fault, which begins and ends.
type fault struct {
	after  time.Duration // after the end of the fault before it in its part
	lasts  time.Duration
	what   what
	target int  // a member or a server
	leader bool // the target is the member that leads then
}

func (f fault) String() string {
	if f.leader {
		return fmt.Sprintf("%v %d, the leader", f.what, f.target)
	}
	return fmt.Sprintf("%v %d", f.what, f.target)
}

type what int

const (
	killMember what = iota
	pauseMember
	isolateMember
	muteMember // it receives, but what it sends is dropped
	splitOff   // a member and a server on one side, all others on the other
	// pauseOthers leaves one member, which is not a quorum. It is the only
	// fault of two members. For ZooKeeper it is no worse than a fault of one
	// (see steady): no leader can be elected while it lasts, and there is no
	// other fault until all follow the next leader.
	pauseOthers
	killServer
	pauseServer
	isolateServer
	loseMember // one server cannot reach one member
	kinds
)

func (w what) String() string {
	return [kinds]string{"kill member", "pause member", "isolate member", "mute member", "split off member and server",
		"pause all members but", "kill server", "pause server", "isolate server", "cut server from member"}[w]
}

// disturbs reports whether it is a fault of a member of the ensemble.
func (w what) disturbs() bool { return w < killServer }

// parts are the groups in which there is one fault at a time: faults of
// members, of the processes of servers, and of the network between them. Faults
// of different parts overlap.
var parts = []struct {
	first, last what
	rest        time.Duration // at most, between two
}{
	{killMember, pauseOthers, 2 * time.Second},
	{killServer, pauseServer, 20 * time.Second},
	{isolateServer, loseMember, 20 * time.Second},
}

// plan returns the faults of a run for each part. They depend only on the seed
// and the length.
func plan(seed uint64, length time.Duration) (faults [][]fault) {
	random := rand.New(rand.NewPCG(seed, 0))
	for _, part := range parts {
		var row []fault
		for at := time.Duration(0); at < length; {
			f := fault{
				after:  span(random, 300*time.Millisecond, part.rest),
				lasts:  span(random, 300*time.Millisecond, 8*time.Second),
				what:   part.first + what(random.IntN(int(part.last-part.first)+1)),
				target: random.IntN(3),
			}
			f.leader = f.what.disturbs() && random.IntN(2) == 0
			row = append(row, f)
			at += f.after + f.lasts
		}
		faults = append(faults, row)
	}
	return faults
}

func span(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// nemesis carries out a plan.
type nemesis struct {
	l      *lab
	start  time.Time
	length time.Duration   // no fault begins after this time
	waited []time.Duration // for the members to recover, each time
}

func (n *nemesis) now() time.Duration { return time.Since(n.start) }

// run returns when all faults have ended.
func (n *nemesis) run(t testing.TB, faults [][]fault) {
	var others sync.WaitGroup
	defer others.Wait()
	for _, row := range faults[1:] {
		others.Go(func() { n.play(t, row) })
	}
	n.play(t, faults[0]) // in the goroutine of the test, because it may end the test
	t.Logf("the members had to recover %d times, which took up to %v", len(n.waited), slices.Max(n.waited).Round(time.Millisecond))
}

// play carries out the faults of one part.
func (n *nemesis) play(t testing.TB, faults []fault) {
	for _, f := range faults {
		time.Sleep(min(f.after, n.length-n.now()))
		if f.what.disturbs() {
			asked := n.now()
			leader := n.l.steady()
			n.waited = append(n.waited, n.now()-asked)
			if f.leader {
				f.target = leader
			}
		}
		if n.now() >= n.length {
			return
		}
		t.Logf("%6.2fs, for %.2fs: %v", n.now().Seconds(), f.lasts.Seconds(), f)
		undo, err := n.begin(f)
		if err == nil {
			time.Sleep(f.lasts)
			err = undo()
		}
		if err != nil {
			t.Errorf("nemesis: %v: %v", f, err)
			return
		}
	}
}

// steady waits until the ensemble may lose any member, and returns the leader.
//
// ZooKeeper 3.8.0 itself loses acknowledged writes if members fail shortly one
// after the other, and no client can prevent it: after the others have elected
// a new leader, a follower takes over the new epoch before it has written the
// transactions of the epoch before to its disk (ZOOKEEPER-4643 and similar). If
// the new leader fails now, the follower wins the next election by its epoch.
// The first leader, which has the transactions, must then drop them.
//
// So each member must have applied a transaction of the present epoch: then it
// has everything before it. Members that are about to elect another leader, and
// have not noticed yet, report such a transaction too. So it must also be one
// that no member had applied when the wait began: then the leader has reached
// both others since the last fault.
func (l *lab) steady() (leader int) {
	l.t.Helper()
	var seen uint64
	l.eventually("members that follow one leader", func() bool {
		var behind, ahead uint64
		leader, behind, ahead = look(l.members)
		if leader < 0 || epochOf(seen) != epochOf(ahead) {
			seen = ahead
			return false
		}
		return behind > seen
	})
	return leader
}

func epochOf(zxid uint64) uint64 { return zxid >> 32 }

// look returns the leader, and the last transactions of the member furthest
// behind and of the one furthest ahead. There is no leader (-1) unless all
// serve, in one epoch.
func look(members []*zktest.Server) (leader int, behind, ahead uint64) {
	leader, behind = -1, math.MaxUint64
	for i, m := range members {
		s := m.Status()
		if s.Mode == "" {
			return -1, 0, 0
		}
		if s.Mode == "leader" {
			leader = i
		}
		behind, ahead = min(behind, s.Zxid), max(ahead, s.Zxid)
	}
	if epochOf(behind) != epochOf(ahead) {
		return -1, 0, 0
	}
	return leader, behind, ahead
}

// begin makes a fault and returns a function that ends it.
func (n *nemesis) begin(f fault) (undo func() error, err error) {
	l := n.l
	member, at, server := l.members[f.target], l.zkNodes[f.target], l.stores[f.target%len(l.stores)]
	switch f.what {
	case killMember:
		member.Kill()
		return func() error { member.Launch(); return nil }, nil
	case pauseMember:
		member.Pause()
		return func() error { member.Resume(); return nil }, nil
	case isolateMember:
		return func() error { return l.net.rejoin(at, l.net.nodes...) }, l.net.isolate(at, l.net.nodes...)
	case muteMember:
		return func() error { return l.net.uncut(at, l.net.nodes...) }, l.net.cut(at, l.net.nodes...)
	case splitOff:
		rest := slices.DeleteFunc(slices.Clone(l.net.nodes), func(n node) bool { return n == at || n == server.node })
		undo = func() error { return errors.Join(l.net.rejoin(at, rest...), l.net.rejoin(server.node, rest...)) }
		return undo, errors.Join(l.net.isolate(at, rest...), l.net.isolate(server.node, rest...))
	case pauseOthers:
		others := slices.Delete(slices.Clone(l.members), f.target, f.target+1)
		for _, m := range others {
			m.Pause()
		}
		return func() error {
			for _, m := range others {
				m.Resume()
			}
			return nil
		}, nil
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
		return func() error { return l.net.rejoin(server.node, l.zkNodes...) }, l.net.isolate(server.node, l.zkNodes...)
	case loseMember:
		return func() error { return l.net.rejoin(server.node, at) }, l.net.isolate(server.node, at)
	}
	return nil, fmt.Errorf("no such fault: %d", f.what)
}
