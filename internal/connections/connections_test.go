package connections

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"testing"
)

// fake is a connection of an address. closed says that the server has closed it.
type fake struct {
	net.Conn
	from   string
	closed bool
}

func (f *fake) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.from)) }
func (f *fake) Close() error         { f.closed = true; return nil }

type bench struct {
	t    *testing.T
	l    *Limiter
	full int
}

func newBench(t *testing.T, maximum int, proxies ...netip.Prefix) *bench {
	b := &bench{t: t}
	b.l = New(maximum, proxies, func() { b.full++ })
	return b
}

// connect makes a connection, and returns nil if it is refused.
func (b *bench) connect(from string) (*fake, *conn) {
	f := &fake{from: from}
	c, _ := b.l.admit(f).(*conn)
	return f, c
}

// ask begins a request of a client that has shown who it is.
func ask(c *conn) *request {
	q := c.begin()
	for range 2 {
		Keep(context.WithValue(context.Background(), contextKey{}, q))
	}
	return q
}

func TestTheConnectionIdleLongestIsClosedFirst(t *testing.T) {
	b := newBench(t, 8)
	var all []*fake
	var conns []*conn
	for _, from := range []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1", "192.0.2.5:1", "192.0.2.6:1", "192.0.2.7:1", "192.0.2.8:1"} {
		f, c := b.connect(from)
		all, conns = append(all, f), append(conns, c)
	}
	ask(conns[0])          // has a request
	ask(conns[1]).end()    // had one
	conns[4].begin().end() // had one of a stranger
	wantClosed := func(at int) {
		t.Helper()
		if _, c := b.connect("192.0.2.99:1"); c == nil {
			t.Fatal("refused")
		} else {
			c.Close()
			// Make the place count again, so that the next one needs another.
			f, c := b.connect(fmt.Sprintf("198.51.100.%d:1", at))
			if c == nil || f.closed {
				t.Fatal("refused")
			}
			ask(c)
		}
		for i, f := range all {
			if f.closed != (i == at) {
				t.Errorf("connection %d: closed %v", i, f.closed)
			}
		}
		all[at].closed = false
	}
	for _, at := range []int{2, 3, 5, 6, 7, 1, 4} {
		wantClosed(at)
	}
	if b.full != 7 {
		t.Errorf("full %d times, want 7", b.full)
	}
}

// TestWithoutAnIdleConnectionNewOnesAreRefused. One with a request of a stranger is
// idle.
func TestWithoutAnIdleConnectionNewOnesAreRefused(t *testing.T) {
	b := newBench(t, 4)
	stranger, c := b.connect("192.0.2.1:1")
	q := c.begin()
	for _, from := range []string{"192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1"} {
		_, c := b.connect(from)
		ask(c)
	}
	_, last := b.connect("192.0.2.5:1")
	if last == nil || !stranger.closed {
		t.Fatal("a stranger that takes its time keeps others out")
	}
	of := ask(last)
	if _, c := b.connect("192.0.2.6:1"); c != nil {
		t.Error("a fifth of four connections")
	}
	of.end()
	q.end()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if b.l.total != 4 || b.l.idle.Len() != 1 {
		t.Errorf("%d connections, %d idle", b.l.total, b.l.idle.Len())
	}
}

// TestRequestsOfStrangersDoNotAddUp: over HTTP/2 a connection has many requests at
// once. It may be closed if all of them are of strangers, and only then.
func TestRequestsOfStrangersDoNotAddUp(t *testing.T) {
	for _, withToken := range []bool{false, true} {
		b := newBench(t, 1)
		f, c := b.connect("192.0.2.1:1")
		for i := range 3 {
			if i == 1 && withToken {
				defer ask(c).end()
			} else {
				defer c.begin().end()
			}
		}
		if _, other := b.connect("192.0.2.2:1"); (other == nil) != withToken || f.closed == withToken {
			t.Errorf("with a token %v: another is refused: %v; it is closed: %v", withToken, other == nil, f.closed)
		}
	}
}

// TestAClientHasAShareOfTheConnections: beyond it, its own are closed. That does
// not hold for proxies and loopback.
func TestAClientHasAShareOfTheConnections(t *testing.T) {
	for _, row := range []struct {
		name     string
		from     [2]string
		most     int
		together bool
	}{
		{"IPv4", [2]string{"192.0.2.1:1", "192.0.2.1:2"}, 5, true},
		{"IPv6, one /64", [2]string{"[2001:db8::1]:1", "[2001:db8::2]:1"}, 5, true},
		{"loopback", [2]string{"127.0.0.1:1", "[::1]:1"}, 19, false},
		{"proxy", [2]string{"10.1.1.1:1", "10.1.1.2:1"}, 19, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, 20, netip.MustParsePrefix("10.0.0.0/8"))
			other, _ := b.connect("192.0.2.77:1")
			var all []*fake
			for i := range 19 {
				f, c := b.connect(row.from[i%2])
				if c == nil {
					t.Fatal("refused")
				}
				all = append(all, f)
			}
			open := 0
			for _, f := range all {
				if !f.closed {
					open++
				}
			}
			if open != row.most || other.closed {
				t.Errorf("%d are open, want %d; the other is closed: %v", open, row.most, other.closed)
			}
			if b.l.total != row.most+1 {
				t.Errorf("%d count", b.l.total)
			}
		})
	}
}

func TestClosedConnectionsDoNotCount(t *testing.T) {
	b := newBench(t, 4)
	for range 100 {
		_, c := b.connect("192.0.2.1:1")
		q, stranger := ask(c), c.begin()
		c.Close()
		c.Close()
		q.end()
		stranger.end()
	}
	if b.l.total != 0 || len(b.l.by) != 0 || b.l.idle.Len() != 0 || b.full != 0 {
		t.Errorf("%d connections, %d clients, %d idle, full %d times", b.l.total, len(b.l.by), b.l.idle.Len(), b.full)
	}
}

func TestFilesAreLeftForTheServer(t *testing.T) {
	for _, row := range []struct{ files, want uint64 }{
		{1, 1}, {64, 32}, {256, 128}, {1024, 1024 - 128}, {65536, 65536 - 128}, {1 << 20, most}, {math.MaxUint64, most},
	} {
		if got := room(row.files); got != int(row.want) {
			t.Errorf("%d connections of %d files, want %d", got, row.files, row.want)
		}
	}
	if m := Max(); m < 1 || m > most {
		t.Errorf("%d connections", m)
	}
}
