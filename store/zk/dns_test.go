//go:build zookeeper

package zk_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/store"
	"secretstore/store/zk"
)

// TestServersAreLookedUpAgain moves the members of an ensemble to other
// addresses, one after the other and all at once. Somebody else listens where
// they were. All names of the process are looked up in its own DNS server, so it
// runs alone.
func TestServersAreLookedUpAgain(t *testing.T) {
	server := zk.SharedServer(t)
	names := useNames(t)
	_, port, err := net.SplitHostPort(server)
	must(t, err)
	members := []string{"zk-1.test", "zk-2.test", "zk-3.test"}
	at := func(member, move int) string { return net.IPv4(127, 0, byte(10+move), byte(1+member)).String() }
	var proxies []*proxy
	var servers []string
	for i, member := range members {
		names.set(member, at(i, 0))
		proxies = append(proxies, newProxyAt(t, net.JoinHostPort(at(i, 0), port), server))
		servers = append(servers, net.JoinHostPort(member, port))
	}
	b := open(t, prompt(t, servers...))
	create(t, b, "k", "x")
	for move, moved := range [][]int{{0}, {1}, {2}, {0, 1, 2}, {0, 1, 2}} {
		for _, i := range moved {
			names.set(members[i], "") // DNS may be late
			proxies[i].Retire()
		}
		for _, i := range moved {
			proxies[i] = newProxyAt(t, net.JoinHostPort(at(i, 1+move), port), server)
			names.set(members[i], at(i, 1+move))
		}
		began := time.Now()
		eventually(t, "connected again", func() bool { return get(b, "k", store.Latest) == "x" })
		t.Logf("move %d: connected after %v", move, time.Since(began))
	}
}

// names are a DNS server for the names of a test.
type names struct {
	mu sync.Mutex
	by map[string]net.IP // guarded by mu
}

func (n *names) set(name, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.by[name] = net.ParseIP(address).To4()
}

// nameServer is the address of the DNS server that this process asks; nil is
// the system's.
var nameServer atomic.Pointer[string]

// The resolver is replaced once, before all tests: a connection of an earlier
// test may still look a name up while it ends.
func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if own := nameServer.Load(); own != nil {
			network, address = "udp", *own
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
}

// useNames makes this process ask names for the rest of the test.
func useNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	n := &names{by: make(map[string]net.IP)}
	var running sync.WaitGroup
	running.Go(func() { n.serve(conn) })
	address := conn.LocalAddr().String()
	nameServer.Store(&address)
	t.Cleanup(func() {
		nameServer.Store(nil)
		conn.Close()
		running.Wait()
	})
	return n
}

// serve answers questions for A records (RFC 1035, section 4). A name without
// an address does not exist.
func (n *names) serve(conn net.PacketConn) {
	const head, recordA = 12, 1
	buf := make([]byte, 512)
	for {
		size, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		end, labels := head, []string{}
		for buf[end] > 0 {
			labels = append(labels, string(buf[end+1:end+1+int(buf[end])]))
			end += 1 + int(buf[end])
		}
		end += 1 + 4 // the root, type and class
		if end > size {
			continue
		}
		n.mu.Lock()
		address := n.by[strings.Join(labels, ".")]
		n.mu.Unlock()
		reply := append([]byte(nil), buf[:end]...)
		reply[2], reply[3] = 0x81, 0x80 // a response
		copy(reply[6:head], make([]byte, 6))
		switch {
		case address == nil:
			reply[3] |= 3 // no such name
		case buf[end-3] == recordA:
			reply[7] = 1
			reply = append(reply, 0xc0, head, 0, recordA, 0, 1, 0, 0, 0, 0, 0, 4) // the name of the question; class IN, TTL 0
			reply = append(reply, address...)
		}
		_, _ = conn.WriteTo(reply, from)
	}
}
