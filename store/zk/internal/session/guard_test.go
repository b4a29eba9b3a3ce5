package session

import (
	"bytes"
	"errors"
	"io"
	"net"
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

func FuzzOnlyRepliesOfPossibleSizesPass(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Add([]byte("\x00\x00\x00\x0f0123456789abcde"))
	f.Add([]byte("\x00\x00\x00\x100123456789abcdef\x00\x00\x00\x110123456789abcdefg\x00\x00\x00\x00"))
	f.Add([]byte("\x04\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var received atomic.Int64
		got, err := io.ReadAll(guard(stream{Reader: iotest.OneByteReader(bytes.NewReader(data))}, &received))
		if !bytes.HasPrefix(data, got) || int64(len(got)) != received.Load() {
			t.Fatalf("%x was read of %x, and %d bytes counted", got, data, received.Load())
		}
		rest := data
		for len(rest) >= 4 {
			size := int(rest[0])<<24 | int(rest[1])<<16 | int(rest[2])<<8 | int(rest[3])
			if size < minReply || size > maxReply {
				if !errors.Is(err, errReply) || len(got) != len(data)-len(rest) {
					t.Fatalf("a reply of %d bytes: %v", size, err)
				}
				return
			}
			rest = rest[min(len(rest), 4+size):]
		}
		if err != nil && len(rest) == 0 {
			t.Fatal(err)
		}
	})
}
