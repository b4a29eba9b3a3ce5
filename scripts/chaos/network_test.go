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

// node is a network of its own with one address. The test's own network is the
// router between all of them, and reaches each at all times.
type node struct {
	name    string
	address string
}

func (n node) host() zktest.Host {
	return zktest.Host{Address: n.address, Enter: []string{"ip", "netns", "exec", n.name}}
}

// network is the nodes, and which of them cannot hear one another.
type network struct {
	nodes []node

	mu   sync.Mutex
	cuts map[[2]string]bool // from, to; guarded by mu
}

// theNetwork is made once: a namespace outlives the test that made it.
var theNetwork = sync.OnceValues(func() (*network, error) {
	w := &network{cuts: make(map[[2]string]bool)}
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

// cut drops, without a word, what from sends to any of to, from now on.
func (w *network) cut(from node, to ...node) error { return w.rule("add", from, to) }

// isolate cuts n off from others, both ways.
func (w *network) isolate(n node, others ...node) error {
	for _, other := range others {
		if err := w.cut(other, n); err != nil {
			return err
		}
	}
	return w.cut(n, others...)
}

// heal undoes all cuts.
func (w *network) heal() error {
	w.mu.Lock()
	var cuts [][2]string
	for cut := range w.cuts {
		cuts = append(cuts, cut)
	}
	w.mu.Unlock()
	for _, cut := range cuts {
		if err := w.rule("del", node{address: cut[0]}, []node{{address: cut[1]}}); err != nil {
			return err
		}
	}
	return nil
}

// rule has the router throw packets away, or pass them again.
func (w *network) rule(what string, from node, to []node) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range to {
		cut := [2]string{from.address, n.address}
		if n.address == from.address || w.cuts[cut] == (what == "add") {
			continue
		}
		if err := ip("rule", what, "from", cut[0], "to", cut[1], "blackhole"); err != nil {
			return err
		}
		w.cuts[cut] = what == "add"
	}
	return nil
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
