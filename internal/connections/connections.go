// Package connections bounds how many connections a server has, and how many of
// them one client.
//
// Where there are too many, the one that has been idle longest is closed for a
// new one. A connection is idle while it has no request of a client that has shown
// who it is, see [Keep]. So a stranger who is slow to send a request, or to read the
// answer, keeps nobody out.
package connections

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"

	"secretstore/internal/clientnet"
)

const (
	// reserve is how many open files are left for the audit log, the storage and
	// whatever else the server opens.
	reserve = 128
	// most bounds the connections where many files may be open: each takes some
	// 20 KB of memory.
	most = 64 << 10
	// share is the part of all connections that one client can have, as a
	// divisor.
	share = 4
)

// Max returns how many connections the limit on open files leaves room for.
func Max() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return most
	}
	return room(uint64(limit.Cur))
}

// room returns how many connections a limit on open files leaves room for. Where
// it is low, half of it is left for the rest.
func room(limit uint64) int {
	files := int(min(limit, 2*most))
	return max(min(files-reserve, most), files/2, 1)
}

// Limiter counts the connections of all listeners of a server. Make it with
// New.
type Limiter struct {
	max, share int
	exempt     []netip.Prefix
	full       func()

	mu    sync.Mutex
	total int                       // guarded by mu
	by    map[netip.Prefix]*account // that have connections; guarded by mu
	idle  list.List                 // of *conn, the one idle longest first; guarded by mu
}

// account are the connections of one client. Guarded by Limiter.mu.
type account struct {
	total int
	idle  list.List // as Limiter.idle
}

// New returns a limiter of at most maximum connections. The share does not apply
// to loopback and to the given networks, those of proxies. full is called
// whenever a connection is closed or refused because there are too many.
func New(maximum int, proxies []netip.Prefix, full func()) *Limiter {
	return &Limiter{max: maximum, share: max(maximum/share, 1), exempt: proxies, full: full, by: make(map[netip.Prefix]*account)}
}

// Count returns how many connections there are.
func (l *Limiter) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Listen returns a listener whose connections are limited.
func (l *Limiter) Listen(from net.Listener) net.Listener { return &listener{from, l} }

type listener struct {
	net.Listener
	limiter *Limiter
}

// Accept returns the next connection that there is room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if limited := l.limiter.admit(c); limited != nil {
			return limited, nil
		}
		_ = c.Close()
	}
}

// conn is a connection that counts.
type conn struct {
	net.Conn
	limiter *Limiter
	client  netip.Prefix

	closed bool // guarded by Limiter.mu
	busy   int  // requests in progress that Keep was called for; guarded by Limiter.mu
	// inAll and inOwn are the places in the lists of idle connections; nil while
	// it is busy. Guarded by Limiter.mu.
	inAll, inOwn *list.Element
}

// admit counts a new connection and closes another for it if need be. It returns
// nil if there is no room.
func (l *Limiter) admit(c net.Conn) net.Conn {
	client, limited := l.clientOf(c)
	victim, admitted := l.enter(c, client, limited)
	if victim != nil {
		_ = victim.Conn.Close()
	}
	if victim != nil || admitted == nil {
		l.full()
	}
	if admitted == nil {
		return nil // not a nil *conn in a net.Conn
	}
	return admitted
}

func (l *Limiter) enter(c net.Conn, client netip.Prefix, limited bool) (victim, admitted *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.by[client]
	var from *list.List
	switch {
	case limited && own != nil && own.total >= l.share:
		from = &own.idle
	case l.total >= l.max:
		from = &l.idle
	}
	if from != nil {
		oldest := from.Front()
		if oldest == nil {
			return nil, nil
		}
		victim = oldest.Value.(*conn)
		l.remove(victim)
	}
	if own = l.by[client]; own == nil {
		own = &account{}
		l.by[client] = own
	}
	own.total++
	l.total++
	admitted = &conn{Conn: c, limiter: l, client: client}
	l.markIdle(admitted)
	return victim, admitted
}

// clientOf returns whose connection it is, and whether the share applies.
func (l *Limiter) clientOf(c net.Conn) (client netip.Prefix, limited bool) {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}, true
	}
	addr := at.Addr().Unmap()
	return clientnet.Of(addr), !addr.IsLoopback() && !clientnet.Within(addr, l.exempt)
}

// Close closes the connection, which no longer counts.
func (c *conn) Close() error {
	c.limiter.mu.Lock()
	c.limiter.remove(c)
	c.limiter.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite is how net/http sees to it that a client reads the last answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// remove stops counting c. The caller holds mu.
func (l *Limiter) remove(c *conn) {
	if c.closed {
		return
	}
	c.closed = true
	l.unmarkIdle(c)
	l.total--
	own := l.by[c.client]
	if own.total--; own.total == 0 {
		delete(l.by, c.client)
	}
}

// markIdle makes c the last to be closed of the idle ones. The caller holds mu.
func (l *Limiter) markIdle(c *conn) {
	if !c.closed && c.inAll == nil {
		c.inAll, c.inOwn = l.idle.PushBack(c), l.by[c.client].idle.PushBack(c)
	}
}

// touch makes c the last to be closed of the idle ones, if it is one. The caller
// holds mu.
func (l *Limiter) touch(c *conn) {
	if c.inAll != nil {
		l.idle.MoveToBack(c.inAll)
		l.by[c.client].idle.MoveToBack(c.inOwn)
	}
}

// unmarkIdle takes c out of the idle ones. The caller holds mu.
func (l *Limiter) unmarkIdle(c *conn) {
	if c.inAll != nil {
		l.idle.Remove(c.inAll)
		l.by[c.client].idle.Remove(c.inOwn)
		c.inAll, c.inOwn = nil, nil
	}
}

// contextKey is that of a *conn in the context of a connection, and of a *request
// in that of a request.
type contextKey struct{}

// Context is for http.Server.ConnContext.
func Context(ctx context.Context, c net.Conn) context.Context {
	for {
		if limited, ok := c.(*conn); ok {
			return context.WithValue(ctx, contextKey{}, limited)
		}
		outer, ok := c.(interface{ NetConn() net.Conn }) // of TLS, for example
		if !ok {
			return ctx
		}
		c = outer.NetConn()
	}
}

// Handler returns a handler in whose requests Keep can be called.
func Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(contextKey{}).(*conn); ok {
			q := c.begin()
			defer q.end()
			r = r.WithContext(context.WithValue(r.Context(), contextKey{}, q))
		}
		h.ServeHTTP(w, r)
	})
}

// Keep says that the client of a request has shown who it is: the connection is not
// idle until the request has ended. Further calls do nothing.
func Keep(ctx context.Context) {
	if q, ok := ctx.Value(contextKey{}).(*request); ok {
		q.keep()
	}
}

// request is one in progress.
type request struct {
	conn *conn
	kept bool // guarded by Limiter.mu
}

func (c *conn) begin() *request {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.limiter.touch(c)
	return &request{conn: c}
}

func (q *request) keep() {
	c := q.conn
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	if !q.kept {
		q.kept = true
		c.busy++
		c.limiter.unmarkIdle(c)
	}
}

func (q *request) end() {
	c := q.conn
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	if !q.kept {
		c.limiter.touch(c)
	} else if c.busy--; c.busy == 0 {
		c.limiter.markIdle(c)
	}
}
