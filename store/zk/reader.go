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
	// for reads that begin with a sync point. A connection does one thing after
	// the other, and one alone stops at about 15,000 reads a second. The first
	// is for listings: a large reply keeps everything behind it waiting.
	readers    = 4
	forListing = 0
	// readerBuffer bounds a request of a reader: a path and little else.
	readerBuffer = 8 << 10
	// maxReaderPause is waited at most before a reader connects again.
	maxReaderPause = 5 * time.Second
)

// reader makes sync points on a connection of its own, one after the other; all
// that wait for one share it. A read that is sent once a sync point has passed is
// at least as new as every write that was acknowledged, wherever that was, before
// the sync point began. So it needs no order with any other connection, which may
// be to another member. It lives as long as the link whose reader it is.
type reader struct {
	wake chan struct{} // holds a token when somebody waits

	mu      sync.Mutex
	up      chan struct{} // closed while there is a connection; guarded by mu
	serving bool          // guarded by mu
	// waiting are for a sync point: each gets the connection, or nil. Guarded
	// by mu.
	waiting []chan *link
}

func newReader() *reader { return &reader{wake: make(chan struct{}, 1), up: make(chan struct{})} }

// sync returns a connection on which a sync point has passed that began after
// the call did, or nil.
func (r *reader) sync(ctx context.Context) *link {
	done := make(chan *link, 1)
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
	case l := <-done:
		return l
	case <-ctx.Done():
		return nil
	}
}

// awaitSync is sync, and waits a little for a connection.
func (r *reader) awaitSync(ctx context.Context, main *link) *link {
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
		if l := r.sync(ctx); l != nil {
			return l
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

func (r *reader) take() []chan *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.waiting
	r.waiting = nil
	return waiting
}

// release gives l to all that wait for a sync point; nil is failure.
func release(waiting []chan *link, l *link) {
	for _, done := range waiting {
		done <- l
	}
}

// serve makes sync points on l, after begin, until it is down, or the link is
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
		if err := quorum(ctx, l, path); err != nil {
			l.fail(fmt.Errorf("%w: sync point: %w", errLost, err))
			release(waiting, nil)
			return
		}
		release(waiting, l)
	}
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
	l, err := newLink(b.ctx, &b.cfg, main.server, main.address, readerBuffer, func(*link, zkc.Event) {})
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
