package zk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
)

// packetOf is a request as the library writes it.
func packetOf(kind uint32, content string) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(8+len(content)))
	p = binary.BigEndian.AppendUint32(p, 7)
	return append(binary.BigEndian.AppendUint32(p, kind), content...)
}

// TestPacketsKeepTheirOrder, and a transaction is told of once it has its place:
// reads that are put afterwards come after it.
func TestPacketsKeepTheirOrder(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	s := newSender(near)
	down := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(down, func(err error) { t.Errorf("failed: %v", err) })
	}()
	var want []byte
	put := func(kind uint32, content string) {
		p := packetOf(kind, content)
		want = append(want, p...)
		s.put(p)
		clear(p) // the library uses its buffer again
	}
	put(4, "a read")
	put(12, "something else")
	select {
	case <-s.multi:
		t.Error("a transaction was told of that nobody has put")
	default:
	}
	put(opMulti, "the barrier")
	<-s.multi
	for range 100 {
		put(4, "behind it")
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v; or the packets are not what was put, in that order", err)
	}
	close(down)
	<-ended
}

func TestAWriteThatFailsEndsTheConnection(t *testing.T) {
	near, far := net.Pipe()
	far.Close()
	s := newSender(near)
	s.put(packetOf(4, "a read"))
	var failed error
	s.run(make(chan struct{}), func(err error) { failed = err })
	if !errors.Is(failed, io.ErrClosedPipe) {
		t.Errorf("failed with %v", failed)
	}
}
