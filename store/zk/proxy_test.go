//go:build zookeeper

package zk_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"secretstore/store/zk"
)

// proxy stands between a backend and ZooKeeper and does what networks do.
type proxy struct {
	t      testing.TB
	listen net.Listener
	server string

	mu      sync.Mutex
	conns   map[net.Conn]bool // both ends of each; guarded by mu
	refuse  bool              // new connections; guarded by mu
	silent  bool              // new connections get no answer; guarded by mu
	onReply int               // so many bytes of a reply still pass, then its connection is cut; -1 is never; guarded by mu
	large   time.Duration     // what a large piece of a reply takes; -1 cuts its connection; guarded by mu
	slow    time.Duration     // what each piece of a reply takes; guarded by mu
	count   int               // of connections let in; guarded by mu
	running sync.WaitGroup
}

func newProxy(t testing.TB, server string) *proxy {
	t.Helper()
	return newProxyAt(t, "127.0.0.1:0", server)
}

// newProxyAt is newProxy on an address of this machine.
func newProxyAt(t testing.TB, address, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listen: l, server: server, conns: make(map[net.Conn]bool), onReply: -1}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Refuse(true)
		p.running.Wait()
	})
	return p
}

func (p *proxy) Addr() string { return p.listen.Addr().String() }

// Cut closes all connections.
func (p *proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Refuse cuts everything off, or lets it in again.
func (p *proxy) Refuse(yes bool) {
	p.mu.Lock()
	p.refuse = yes
	p.mu.Unlock()
	if yes {
		p.Cut()
	}
}

// Retire cuts everything off forever; new connections are accepted, and nothing
// ever answers them.
func (p *proxy) Retire() {
	p.mu.Lock()
	p.silent = true
	p.mu.Unlock()
	p.Cut()
}

// CutReply cuts the connection of the next reply after n bytes of it: the
// request has reached the server.
func (p *proxy) CutReply(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onReply = n
}

// Large lets every 32 KiB of a reply take so long, or with -1 cuts the
// connection on the first.
func (p *proxy) Large(takes time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.large = takes
}

// Slow delays each piece of a reply, however many replies it holds.
func (p *proxy) Slow(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = by
}

// Complete waits until a backend has all its connections.
func (p *proxy) Complete() {
	p.t.Helper()
	eventually(p.t, "all connections", func() bool { return p.Accepted() == zk.Connections })
}

// Accepted returns how many connections were let in.
func (p *proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.silent {
			p.conns[client] = true
			p.mu.Unlock()
			server.Close()
			p.running.Go(func() { _, _ = io.Copy(io.Discard, client) })
			continue
		}
		if p.refuse {
			p.mu.Unlock()
			client.Close()
			server.Close()
			continue
		}
		p.conns[client], p.conns[server] = true, true
		p.count++
		p.mu.Unlock()
		p.running.Go(func() { p.pass(client, server, false) })
		p.running.Go(func() { p.pass(server, client, true) })
	}
}

func (p *proxy) pass(from, to net.Conn, reply bool) {
	defer func() {
		from.Close()
		to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		cut := reply && p.onReply >= 0
		if cut {
			n = min(n, p.onReply)
			p.onReply = -1
		}
		late := time.Duration(0)
		if reply && n == len(buf) {
			late = p.large
		}
		if reply {
			late += p.slow
		}
		p.mu.Unlock()
		if late < 0 {
			return
		}
		time.Sleep(late)
		if _, err := to.Write(buf[:n]); err != nil || cut {
			return
		}
	}
}
