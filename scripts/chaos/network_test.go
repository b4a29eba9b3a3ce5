//go:build zookeeper && linux

package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"secretstore/internal/zktest"
)

// node is a network namespace with one address. The test's own namespace routes
// between all of them, and can always reach each.
type node struct {
	name    string
	address string
}

func (n node) host() zktest.Host {
	return zktest.Host{Address: n.address, Enter: []string{"ip", "netns", "exec", n.name}}
}

// network is the nodes, and the cuts between them.
type network struct {
	nodes []node

	mu   sync.Mutex
	cuts map[[2]string]int // number of cuts from, to: faults overlap; guarded by mu
}

// theNetwork is made once: namespaces outlive the test that made them.
var theNetwork = sync.OnceValues(func() (*network, error) {
	w := &network{cuts: make(map[[2]string]int)}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, err
	}
	for i := range 6 {
		n := node{fmt.Sprintf("n%d", i), fmt.Sprintf("10.77.%d.2", i)}
		router, link := fmt.Sprintf("10.77.%d.1", i), fmt.Sprintf("v%d", i)
		for _, args := range [][]string{
			{"netns", "add", n.name},
			{"link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", n.name},
			{"addr", "add", router + "/24", "dev", link},
			{"link", "set", link, "up"},
			{"-n", n.name, "addr", "add", n.address + "/24", "dev", "eth0"},
			{"-n", n.name, "link", "set", "eth0", "up"},
			{"-n", n.name, "link", "set", "lo", "up"},
			{"-n", n.name, "route", "add", "default", "via", router},
		} {
			if err := ip(args...); err != nil {
				return nil, err
			}
		}
		w.nodes = append(w.nodes, n)
	}
	return w, nil
})

// newNetwork returns the network with nothing cut.
func newNetwork(t testing.TB) *network {
	t.Helper()
	w, err := theNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, w.heal()) })
	return w
}

// cut makes the router silently drop what from sends to any of to.
func (w *network) cut(from node, to ...node) error { return w.change(1, from, to) }

// uncut undoes one cut.
func (w *network) uncut(from node, to ...node) error { return w.change(-1, from, to) }

// isolate cuts n off from others, both ways.
func (w *network) isolate(n node, others ...node) error { return both(w.cut, n, others) }

// rejoin undoes one isolate.
func (w *network) rejoin(n node, others ...node) error { return both(w.uncut, n, others) }

func both(do func(from node, to ...node) error, n node, others []node) error {
	for _, other := range others {
		if err := do(other, n); err != nil {
			return err
		}
	}
	return do(n, others...)
}

// heal undoes all cuts.
func (w *network) heal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for cut := range w.cuts {
		if err := w.set(cut, 0); err != nil {
			return err
		}
	}
	return nil
}

func (w *network) change(by int, from node, to []node) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range to {
		cut := [2]string{from.address, n.address}
		if n.address == from.address {
			continue
		}
		if err := w.set(cut, w.cuts[cut]+by); err != nil {
			return err
		}
	}
	return nil
}

// set makes the router drop the packets of a cut that is made at least once.
// The caller holds mu.
func (w *network) set(cut [2]string, times int) error {
	if was := w.cuts[cut] > 0; was != (times > 0) {
		what := map[bool]string{true: "del", false: "add"}[was]
		if err := ip("rule", what, "from", cut[0], "to", cut[1], "blackhole"); err != nil {
			return err
		}
	}
	w.cuts[cut] = times
	return nil
}

// TestEndingOneFaultKeepsAnother asks the router what it would do with a
// packet.
func TestEndingOneFaultKeepsAnother(t *testing.T) {
	w := newNetwork(t)
	server, member, other := w.nodes[3], w.nodes[0], w.nodes[1]
	passes := func(from, to node) bool {
		return ip("route", "get", to.address, "from", from.address, "iif", "v"+from.name[1:]) == nil
	}
	for _, step := range []struct {
		name              string
		do                func() error
		toServer, toOther bool // from the member
	}{
		{"nothing", func() error { return nil }, true, true},
		{"cut server from member", func() error { return w.isolate(server, member) }, false, true},
		{"isolate member", func() error { return w.isolate(member, w.nodes...) }, false, false},
		{"the member is back", func() error { return w.rejoin(member, w.nodes...) }, false, true},
		{"mute member", func() error { return w.cut(member, w.nodes...) }, false, false},
		{"the server is back", func() error { return w.rejoin(server, member) }, false, false},
		{"heal", w.heal, true, true},
	} {
		must(t, step.do())
		if toServer, toOther := passes(member, server), passes(member, other); toServer != step.toServer || toOther != step.toOther {
			t.Errorf("%s: to the server %v, to another member %v", step.name, toServer, toOther)
		}
	}
	if !passes(server, member) {
		t.Error("not healed")
	}
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %q: %w: %s (the package iproute2 has it)", args, err, out)
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
