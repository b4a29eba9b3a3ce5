//go:build zookeeper && gpg

package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// crashProxy stands between a server and ZooKeeper, and kills the server at one
// of its writes: before the write reaches ZooKeeper, or when ZooKeeper has
// acknowledged it and before the server learns of that.
type crashProxy struct {
	listen  net.Listener
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // both ends of each; guarded by mu
	left  int               // writes until the one that counts; 0 is never; guarded by mu
	after bool              // guarded by mu
	kill  func()            // guarded by mu
	seen  int               // writes since arm; guarded by mu
}

func newCrashProxy(t *testing.T, zookeeper string) *crashProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &crashProxy{listen: l, conns: make(map[net.Conn]bool)}
	a.running.Go(func() { a.accept(zookeeper) })
	t.Cleanup(func() {
		l.Close()
		a.mu.Lock()
		for c := range a.conns {
			c.Close()
		}
		a.mu.Unlock()
		a.running.Wait()
	})
	return a
}

func (a *crashProxy) addr() string { return a.listen.Addr().String() }

// arm has kill called at the n-th write from now on.
func (a *crashProxy) arm(n int, after bool, kill func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left, a.after, a.kill, a.seen = n, after, kill, 0
}

// disarm returns how many writes were seen.
func (a *crashProxy) disarm() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left = 0
	return a.seen
}

func (a *crashProxy) accept(zookeeper string) {
	for {
		client, err := a.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", zookeeper)
		if err != nil {
			client.Close()
			continue
		}
		a.mu.Lock()
		a.conns[client], a.conns[server] = true, true
		a.mu.Unlock()
		p := &crashConn{a: a, client: client, server: server}
		a.running.Go(func() { p.copy(client, server, p.request) })
		a.running.Go(func() { p.copy(server, client, p.reply) })
	}
}

// crashConn is one connection.
type crashConn struct {
	a              *crashProxy
	client, server net.Conn

	mu   sync.Mutex
	last []byte // the xid whose reply is the last; guarded by mu
}

// copy passes on one frame after the other, as long as look wants to. The first
// of each direction opens the session.
func (p *crashConn) copy(from, to net.Conn, look func(frame []byte) bool) {
	defer func() {
		p.a.mu.Lock()
		defer p.a.mu.Unlock()
		for _, c := range []net.Conn{p.client, p.server} {
			c.Close()
			delete(p.a.conns, c)
		}
	}()
	for first := true; ; first = false {
		var head [4]byte
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(from, frame); err != nil {
			return
		}
		if !first && !look(frame) {
			return
		}
		if _, err := to.Write(append(head[:], frame...)); err != nil {
			return
		}
	}
}

// request kills before a write, or notes whose reply is to be waited for.
func (p *crashConn) request(frame []byte) bool {
	if !isWrite(frame) {
		return true
	}
	a := p.a
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen++
	if a.left == 0 {
		return true
	}
	if a.left--; a.left > 0 {
		return true
	}
	if a.after {
		p.mu.Lock()
		p.last = frame[:4]
		p.mu.Unlock()
		return true
	}
	a.kill()
	return false
}

func (p *crashConn) reply(frame []byte) bool {
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	if last == nil || len(frame) < 4 || !bytes.Equal(frame[:4], last) {
		return true
	}
	p.a.mu.Lock()
	kill := p.a.kill
	p.a.mu.Unlock()
	kill()
	return false
}

// The types of request that change something, and the one operation of a
// transaction that does not.
const (
	opCreate = 1
	opDelete = 2
	opSet    = 5
	opCheck  = 13
	opMulti  = 14
)

// isWrite recognises a write by a server to its records. A transaction of a
// check alone asks for a quorum, and what servers tell people of themselves
// changes nothing that counts here.
func isWrite(frame []byte) bool {
	if len(frame) < 8 || bytes.Contains(frame, []byte("/nodes")) {
		return false
	}
	body := frame[8:]
	switch binary.BigEndian.Uint32(frame[4:]) {
	case opCreate, opDelete, opSet:
		return true
	case opMulti:
		const head = 4 + 1 + 4 // type, done, error
		if len(body) < head+4 || binary.BigEndian.Uint32(body) != opCheck {
			return true
		}
		next := head + 4 + int(binary.BigEndian.Uint32(body[head:])) + 4 // path and version
		return next+5 > len(body) || body[next+4] == 0                   // more operations follow
	}
	return false
}
