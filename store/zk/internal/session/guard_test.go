package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// stream is a connection that only gives data.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func (s stream) Write(p []byte) (int, error) { return len(p), nil }

// readFrames reads as the library does: a length, then the rest at once.
func readFrames(conn net.Conn) (all []byte, err error) {
	for {
		length := make([]byte, 4)
		if _, err := io.ReadFull(conn, length); err != nil {
			return all, err
		}
		all = append(all, length...)
		frame := make([]byte, binary.BigEndian.Uint32(length))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return all, err
		}
		all = append(all, frame...)
	}
}

// ping is what a server answers to one, with its length.
var ping = slices.Concat([]byte{0, 0, 0, 16, 255, 255, 255, 254}, make([]byte, 12))

// connectResponse is what a server answers first, with its length.
var connectResponse = slices.Concat([]byte{0, 0, 0, 36}, make([]byte, 6), []byte{39, 16}, make([]byte, 7), []byte{1, 0, 0, 0, 16}, make([]byte, 16))

func FuzzOnlyRepliesOfPossibleSizesPass(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Add([]byte("\x00\x00\x00\x0f0123456789abcde"))
	f.Add(slices.Concat(connectResponse, ping, ping, []byte("\x00\x00\x00\x00")))
	f.Add(slices.Concat(connectResponse, ping, ping[:17]))
	f.Add(slices.Concat(connectResponse, ping[:3]))
	f.Add(slices.Concat(connectResponse, []byte("\x00\x00\x00\x100123456789abcdef")))
	f.Add([]byte("\x04\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var received atomic.Int64
		var refused error
		g := guard(stream{Reader: iotest.OneByteReader(bytes.NewReader(data))}, &received, func(err error) { refused = err })
		if _, err := g.Write(connectResponse); err != nil { // as good as a request
			t.Fatal(err)
		}
		got, err := readFrames(g)
		if !bytes.HasPrefix(data, got) || int64(len(got)) > received.Load() || received.Load() > int64(len(data)) {
			t.Fatalf("%x was read of %x, and %d bytes counted", got, data, received.Load())
		}
		if refused != nil && (err != refused || !errors.Is(err, ErrReply)) {
			t.Fatalf("%v, and refused because of %v", err, refused)
		}
		rest := data
		for first := true; len(rest) >= 4; first = false {
			size := int(rest[0])<<24 | int(rest[1])<<16 | int(rest[2])<<8 | int(rest[3])
			if size < minReply || size > maxReply {
				if refused == nil || len(got) != len(data)-len(rest) {
					t.Fatalf("a reply of %d bytes: %v", size, err)
				}
				return
			}
			if len(rest) < 4+size {
				break
			}
			if known := bytes.HasPrefix(rest, connectResponse) == first && bytes.HasPrefix(rest, ping) != first; !known {
				return // for the package frames to decide
			}
			rest = rest[4+size:]
		}
		if refused != nil || len(got) < len(data)-len(rest) {
			t.Fatalf("%x was read of %x: %v", got, data, err)
		}
	})
}

func TestFramesInPiecesAreRefused(t *testing.T) {
	for name, use := range map[string]func(net.Conn) error{
		"half of a length read":   func(g net.Conn) error { _, err := g.Read(make([]byte, 2)); return err },
		"more than a length read": func(g net.Conn) error { _, err := g.Read(make([]byte, 8)); return err },
		"part of a frame read": func(g net.Conn) error {
			if _, err := g.Read(make([]byte, 4)); err != nil {
				return err
			}
			_, err := g.Read(make([]byte, 35))
			return err
		},
		"half of a length written": func(g net.Conn) error { _, err := g.Write(connectResponse[:2]); return err },
		"part of a frame written":  func(g net.Conn) error { _, err := g.Write(connectResponse[:30]); return err },
		"two frames written":       func(g net.Conn) error { _, err := g.Write(slices.Concat(ping, ping)); return err },
	} {
		var received atomic.Int64
		var refused error
		err := use(guard(stream{Reader: bytes.NewReader(connectResponse)}, &received, func(err error) { refused = err }))
		if !errors.Is(err, errFraming) || refused != err {
			t.Errorf("%s: %v, and refused because of %v", name, err, refused)
		}
	}
}
