package session

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"secretstore/store/zk/internal/frames"
)

const (
	// readAhead is how much of the replies is fetched at once.
	readAhead = 64 << 10
	// minReply is the size of a reply's header. The library panics on less.
	minReply = 16
	// lengthSize is that of the length before each frame.
	lengthSize = 4
)

// ErrReply: the peer is not a ZooKeeper server, or sends what the library
// cannot decode. Its connection is closed.
var ErrReply = errors.New("invalid reply from ZooKeeper")

// errFraming: the library reads or writes frames in another way than it did
// when this was written.
var errFraming = errors.New("internal error: frames of ZooKeeper in pieces")

// guarded is a connection as the library uses it. It lets through only frames
// that the library can decode. Otherwise any server on that port, even a web
// server by mistake, could make it panic or allocate gigabytes.
//
// The library reads the length of a frame, and then the rest at once, which is
// checked in the library's own buffer: a listing is not held twice.
type guarded struct {
	net.Conn
	buffer   *bufio.Reader
	size     int // of the frame whose length was read, and the rest not; else 0
	frames   frames.Checker
	received *atomic.Int64 // bytes so far
	refuse   func(error)   // ends the connection because of a frame
}

func guard(conn net.Conn, received *atomic.Int64, refuse func(error)) *guarded {
	return &guarded{Conn: conn, buffer: bufio.NewReaderSize(conn, readAhead), received: received, refuse: refuse}
}

// Write takes one frame with its length.
func (g *guarded) Write(p []byte) (int, error) {
	if len(p) < lengthSize || int64(binary.BigEndian.Uint32(p)) != int64(len(p)-lengthSize) {
		return 0, g.refused(errFraming)
	}
	if err := g.frames.Sent(p[lengthSize:]); err != nil {
		return 0, g.refused(err)
	}
	return g.Conn.Write(p)
}

// Read fills p with the length of a frame, or with the rest of one.
func (g *guarded) Read(p []byte) (int, error) {
	if g.size == 0 {
		return g.readLength(p)
	}
	if len(p) < g.size {
		return 0, g.refused(errFraming)
	}
	frame := p[:g.size]
	if err := g.fill(frame); err != nil {
		return 0, err
	}
	if err := g.frames.Received(frame); err != nil {
		return 0, g.refused(fmt.Errorf("%w: %w", ErrReply, err))
	}
	g.size = 0
	return len(frame), nil
}

func (g *guarded) readLength(p []byte) (int, error) {
	if len(p) != lengthSize {
		return 0, g.refused(errFraming)
	}
	if err := g.fill(p); err != nil {
		return 0, err
	}
	size := binary.BigEndian.Uint32(p)
	if size < minReply || size > maxReply {
		return 0, g.refused(fmt.Errorf("%w: %d bytes", ErrReply, size))
	}
	g.size = int(size)
	return len(p), nil
}

// fill counts what has arrived of a large reply before the rest has.
func (g *guarded) fill(p []byte) error {
	for len(p) > 0 {
		n, err := g.buffer.Read(p)
		g.received.Add(int64(n))
		if p = p[n:]; err != nil && len(p) > 0 {
			return err
		}
	}
	return nil
}

func (g *guarded) refused(err error) error {
	g.refuse(err)
	return err
}

// The library sets a deadline, twice, for every packet. Here Tend ends a session
// that gets no answers.

func (g *guarded) SetDeadline(time.Time) error      { return nil }
func (g *guarded) SetReadDeadline(time.Time) error  { return nil }
func (g *guarded) SetWriteDeadline(time.Time) error { return nil }
