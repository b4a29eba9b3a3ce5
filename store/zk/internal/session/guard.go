package session

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

const (
	// readAhead is how much of the replies is fetched at once.
	readAhead = 64 << 10
	// minReply is the size of a reply's header. The library panics on less.
	minReply = 16
)

// errReply: what came is no reply of a ZooKeeper server.
var errReply = errors.New("not a reply of ZooKeeper")

// guarded is a connection as the library reads it: replies of possible sizes
// only. (Whoever answers on the port, be it by mistake a web server, could
// otherwise make the library allocate gigabytes, or panic.)
type guarded struct {
	net.Conn
	buffer   *bufio.Reader
	left     int           // bytes of the present reply that have yet to be read
	received *atomic.Int64 // bytes so far
}

func guard(conn net.Conn, received *atomic.Int64) *guarded {
	return &guarded{Conn: conn, buffer: bufio.NewReaderSize(conn, readAhead), received: received}
}

func (g *guarded) Read(p []byte) (int, error) {
	if g.left == 0 {
		head, err := g.buffer.Peek(4)
		if err != nil {
			return 0, err
		}
		size := binary.BigEndian.Uint32(head)
		if size < minReply || size > maxReply {
			return 0, errReply
		}
		g.left = len(head) + int(size)
	}
	n, err := g.buffer.Read(p[:min(len(p), g.left)])
	g.left -= n
	g.received.Add(int64(n))
	return n, err
}

// The library sets a deadline, twice, for every packet. Here a link is ended
// by Tend.

func (g *guarded) SetDeadline(time.Time) error      { return nil }
func (g *guarded) SetReadDeadline(time.Time) error  { return nil }
func (g *guarded) SetWriteDeadline(time.Time) error { return nil }
