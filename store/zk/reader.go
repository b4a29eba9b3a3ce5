package zk

import (
	"context"
	"fmt"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
)

const (
	// readers is how many connections there are beside the one that writes,
	// for reads that begin with a barrier. A connection does one thing after
	// the other, and one alone stops at about 15,000 reads a second. The first
	// is for listings: a large reply keeps everything behind it waiting.
	readers    = 4
	forListing = 0
	// readerBuffer bounds a request of a reader: a path and little else.
	readerBuffer = 8 << 10
	// maxReaderPause is waited at most before a reader connects again.
	maxReaderPause = 5 * time.Second
)

// reader makes barriers on a connection of its own, one after the other; all
// that wait for one share it. What they read is sent right behind the barrier, and
// counts once that has passed: a server answers a session in order. It needs no order with any other connection, and
// may be on another member: what is read after the barrier is at least as new
// as every write that was acknowledged before the barrier began, wherever that
// was. It lives as long as the link whose reader it is.
type reader struct {
	wake chan struct{} // holds a token when somebody waits

	mu      sync.Mutex
	up      chan struct{}   // closed while there is a connection; guarded by mu
	serving bool            // guarded by mu
	waiting []chan *passage // for a barrier; each gets one, or is closed; guarded by mu
}

// passage is a connection behind a barrier: what is read there counts once the
// barrier has passed.
type passage struct {
	link *link
	done chan struct{} // closed when err is set
	err  error         // why the barrier has not passed; matches errLost
}

// passed waits for the barrier.
func (p *passage) passed(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return expired(ctx)
	}
}

func newReader() *reader { return &reader{wake: make(chan struct{}, 1), up: make(chan struct{})} }

// barrier returns a connection on which a barrier has been made, or is on its
// way, since the call began, or nil.
func (r *reader) barrier(ctx context.Context) *passage {
	done := make(chan *passage, 1)
	r.mu.Lock()
	if !r.serving {
		r.mu.Unlock()
		return nil
	}
	r.waiting = append(r.waiting, done)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	select {
	case p := <-done:
		return p
	case <-ctx.Done():
		return nil
	}
}

// awaitBarrier is barrier, and waits a little for a connection.
func (r *reader) awaitBarrier(ctx context.Context, main *link) *passage {
	timer := time.NewTimer(maxAwait)
	defer timer.Stop()
	for {
		r.mu.Lock()
		up := r.up
		r.mu.Unlock()
		select {
		case <-up:
		case <-timer.C:
			return nil
		case <-main.down:
			return nil
		case <-ctx.Done():
			return nil
		}
		if p := r.barrier(ctx); p != nil {
			return p
		}
	}
}

func (r *reader) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serving = true
	close(r.up)
}

func (r *reader) end() {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting, r.serving, r.up = nil, false, make(chan struct{})
	r.mu.Unlock()
	release(waiting, nil)
}

func (r *reader) take() []chan *passage {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.waiting
	r.waiting = nil
	return waiting
}

// release lets those go who wait for a barrier; nil is failure.
func release(waiting []chan *passage, p *passage) {
	for _, done := range waiting {
		if p != nil {
			done <- p
		}
		close(done)
	}
}

// serve makes barriers on l, after begin, until it is down, or the link is
// whose reader r is.
func (r *reader) serve(ctx context.Context, main, l *link, path string) {
	defer r.end()
	for {
		select {
		case <-l.down:
			return
		case <-main.down:
			return
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		waiting := r.take()
		if len(waiting) == 0 {
			continue
		}
		if !pass(ctx, l, path, waiting) {
			return
		}
	}
}

// pass makes a barrier for all who wait. They are let go as soon as it is in its
// place among the packets of l; where that is not to be seen, once it has passed.
func pass(ctx context.Context, l *link, path string, waiting []chan *passage) (ok bool) {
	p := &passage{link: l, done: make(chan struct{})}
	select {
	case <-l.sent: // of a barrier whose answer was quicker
	default:
	}
	go func() { // ends with l at the latest, and is waited for below
		if p.err = quorum(ctx, l, path); p.err != nil {
			p.err = fmt.Errorf("%w: barrier: %w", errLost, p.err)
			l.fail(p.err)
		}
		close(p.done)
	}()
	select {
	case <-l.sent:
		release(waiting, p)
		<-p.done
	case <-p.done:
		if p.err != nil {
			release(waiting, nil)
		} else {
			release(waiting, p)
		}
	}
	return p.err == nil
}

// read keeps r connected until main is down or the backend ends.
func (b *Backend) read(main *link, r *reader) {
	pause := minPause
	for main.failure() == nil && b.ctx.Err() == nil {
		lasted, err := b.serveReads(main, r)
		b.log.Debug("a connection to ZooKeeper for reads has ended", zap.String("server", main.server), zap.Error(err))
		if lasted > settled {
			pause = minPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-main.down:
		case <-b.ctx.Done():
		}
		timer.Stop()
		pause = min(2*pause, maxReaderPause)
	}
}

// serveReads connects r, and returns for how long it could be used, and why
// that ended.
func (b *Backend) serveReads(main *link, r *reader) (lasted time.Duration, err error) {
	l, err := newLink(b.ctx, &b.cfg, main.server, main.address, readerBuffer, make(chan struct{}, 1), func(*link, zkc.Event) {})
	if err != nil {
		return 0, err
	}
	b.running.Go(func() { l.tend(b.changes) })
	defer b.running.Go(l.retire)
	ctx, cancel := context.WithTimeoutCause(b.ctx, maxCall, errTooSlow)
	defer cancel()
	if err := b.admit(ctx, l, unanswered); err != nil {
		l.fail(err)
		return 0, err
	}
	began := time.Now()
	r.begin()
	r.serve(b.ctx, main, l, b.changes)
	return time.Since(began), l.failure()
}
