// Package logqueue writes the output of a server without waiting for its reader.
// A terminal that was stopped with Ctrl-S, a pipe that nobody reads, and a reader
// that has gone must hold up neither a request nor the end of the server.
package logqueue

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// maxWaiting bounds the bytes that wait for the reader.
	maxWaiting = 1 << 20
	// maxSpare bounds a buffer that is kept for later.
	maxSpare = 64 << 10
	// maxFlush bounds how long Flush and Close wait for the reader.
	maxFlush = 2 * time.Second
)

// Queue is an io.Writer that never blocks and never fails. Each call of Write takes
// a whole line, or several. What does not fit, or cannot be written, is lost and
// counted. Make it with New, and Close it.
type Queue struct {
	to    io.Writer
	ended chan struct{} // closed when run has returned

	mu      sync.Mutex
	wake    *sync.Cond
	waiting []byte // guarded by mu
	lost    uint64 // lines; guarded by mu
	closed  bool   // guarded by mu
	// flushing are closed once nothing waits; guarded by mu.
	flushing []chan struct{}
}

// New returns a queue that writes to w.
func New(w io.Writer) *Queue {
	q := &Queue{to: w, ended: make(chan struct{})}
	q.wake = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Write implements io.Writer. After Close everything is lost.
func (q *Queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.waiting)+len(p) > maxWaiting {
		q.lost += lines(p)
	} else {
		q.waiting = append(q.waiting, p...)
		q.wake.Signal()
	}
	return len(p), nil
}

// Lost returns how many lines were lost.
func (q *Queue) Lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// Flush returns when everything is written, or after maxFlush.
func (q *Queue) Flush() {
	done := make(chan struct{})
	q.mu.Lock()
	q.flushing = append(q.flushing, done)
	q.wake.Signal()
	q.mu.Unlock()
	q.await(done)
}

// Close returns when everything is written, or after maxFlush. Then a write may
// still be in progress, for which nothing can be done.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.wake.Signal()
	q.mu.Unlock()
	q.await(q.ended)
	return nil
}

// await waits until done or the end of run, for maxFlush at most.
func (q *Queue) await(done <-chan struct{}) {
	timer := time.NewTimer(maxFlush)
	defer timer.Stop()
	select {
	case <-done:
	case <-q.ended:
	case <-timer.C:
	}
}

// run writes what waits until the queue is closed.
func (q *Queue) run() {
	defer close(q.ended)
	var spare []byte
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.waiting) == 0 {
			for _, done := range q.flushing {
				close(done)
			}
			q.flushing = nil
			if q.closed {
				return
			}
			q.wake.Wait()
		}
		out := q.waiting
		q.waiting = spare[:0]
		q.mu.Unlock()
		n, err := q.to.Write(out)
		q.mu.Lock()
		if err != nil {
			q.lost += lines(out[min(n, len(out)):])
		}
		if cap(out) <= maxSpare {
			spare = out
		}
	}
}

func lines(p []byte) uint64 { return uint64(bytes.Count(p, []byte{'\n'})) }
