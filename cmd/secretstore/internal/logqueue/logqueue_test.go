package logqueue

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestEverythingIsWrittenInOrderByTheEnd(t *testing.T) {
	var out bytes.Buffer
	q := New(&out)
	var want strings.Builder
	for range 1000 {
		io.WriteString(q, "a line\n")
		want.WriteString("a line\n")
	}
	io.WriteString(q, "the last line\n")
	want.WriteString("the last line\n")
	q.Close()
	if out.String() != want.String() || q.Lost() != 0 {
		t.Errorf("%d bytes, want %d; %d lines lost", out.Len(), want.Len(), q.Lost())
	}
}

// stuck is a reader that takes nothing until it is released.
type stuck struct {
	release chan struct{}
	mu      sync.Mutex
	taken   int // guarded by mu
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken += bytes.Count(p, []byte{'\n'})
	return len(p), nil
}

// TestAReaderThatIsStuckHoldsUpNothing: in the bubble of synctest, a Write that
// blocked would be a deadlock.
func TestAReaderThatIsStuckHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{release: make(chan struct{})}
		q := New(s)
		line := []byte(strings.Repeat("x", 1023) + "\n")
		const written = 4 * maxWaiting / 1024
		for range written {
			q.Write(line)
		}
		began := time.Now()
		q.Close()
		if took := time.Since(began); took != maxFlush {
			t.Errorf("Close took %v", took)
		}
		q.Write(line)
		lost := q.Lost()
		if lost < written/4 || lost > written {
			t.Errorf("%d lines lost of %d", lost, written)
		}
		close(s.release)
		<-q.ended
		s.mu.Lock()
		defer s.mu.Unlock()
		if q.Lost() != lost || uint64(s.taken)+lost != written+1 {
			t.Errorf("%d lines written and %d lost, of %d", s.taken, lost, written+1)
		}
	})
}

// gone is a reader that has left: it took the first bytes of each write.
type gone struct{}

func (gone) Write(p []byte) (int, error) { return min(3, len(p)), errors.New("broken pipe") }

func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	q := New(gone{})
	io.WriteString(q, "one\ntwo\n")
	q.Close()
	if q.Lost() != 2 {
		t.Errorf("%d lines lost, want 2", q.Lost())
	}
}

// slow is a reader that takes a second for each write.
type slow struct{ bytes.Buffer }

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Buffer.Write(p)
}

func TestFlushReturnsOnceEverythingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &slow{}
		q := New(out)
		defer q.Close()
		q.Flush() // of nothing
		io.WriteString(q, "a line\n")
		q.Flush()
		if got := out.String(); got != "a line\n" {
			t.Errorf("%q is written", got)
		}
	})
}

func TestFlushDoesNotWaitForAStuckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{release: make(chan struct{})}
		q := New(out)
		io.WriteString(q, "a line\n")
		began := time.Now()
		q.Flush()
		if took := time.Since(began); took != maxFlush {
			t.Errorf("it took %v", took)
		}
		close(out.release)
		q.Close()
		q.Flush() // after the end
	})
}
