package zk

import (
	"encoding/binary"
	"net"
	"sync"
)

// sender writes the packets of a connection. What comes while one is written
// goes out together: the library writes each by itself, and many reads are
// released by one barrier.
type sender struct {
	conn net.Conn
	wake chan struct{} // holds a token while there is something to write
	// multi gets a token when a transaction is in its place among the packets:
	// what is sent from then on is answered after it.
	multi chan struct{}

	mu      sync.Mutex
	waiting []byte // guarded by mu
}

func newSender(conn net.Conn) *sender {
	return &sender{conn: conn, wake: make(chan struct{}, 1), multi: make(chan struct{}, 1)}
}

// opMulti is the type of a transaction. In a packet it follows the length and
// the number of the request, each of four bytes.
const opMulti = 14

// put takes one packet. It does not block: how many there can be is bounded by
// the calls of a link.
func (s *sender) put(packet []byte) {
	s.mu.Lock()
	s.waiting = append(s.waiting, packet...)
	s.mu.Unlock()
	notify(s.wake)
	if len(packet) >= 12 && binary.BigEndian.Uint32(packet[8:]) == opMulti {
		notify(s.multi)
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes until down is closed, or until the connection fails, which fail is
// told.
func (s *sender) run(down <-chan struct{}, fail func(error)) {
	var spare []byte
	for {
		select {
		case <-down:
			return
		case <-s.wake:
		}
		s.mu.Lock()
		out := s.waiting
		s.waiting = spare[:0]
		s.mu.Unlock()
		if _, err := s.conn.Write(out); err != nil {
			fail(err)
			return
		}
		if spare = out; cap(spare) > readAhead {
			spare = nil
		}
	}
}
