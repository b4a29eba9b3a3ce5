package session

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Syncer makes sync points on one session at a time, one after the other. All
// that wait for a sync point share the next one. A read that is sent once a sync
// point has passed is at least as new as every write that was acknowledged, on
// any connection, before the sync point began. Make it with NewSyncer.
type Syncer struct {
	wake chan struct{} // holds a token when a caller waits

	mu      sync.Mutex
	up      chan struct{} // closed while there is a session; guarded by mu
	serving bool          // guarded by mu
	// waiting are for a sync point: each gets the session, or nil. Guarded by mu.
	waiting []chan *Session
}

// NewSyncer returns a Syncer without a session.
func NewSyncer() *Syncer { return &Syncer{wake: make(chan struct{}, 1), up: make(chan struct{})} }

// Sync returns a session on which a sync point has passed that began after the
// call did; nil if there is no session, or ctx ends.
func (r *Syncer) Sync(ctx context.Context) *Session {
	done := make(chan *Session, 1)
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
	case s := <-done:
		return s
	case <-ctx.Done():
		return nil
	}
}

// Await is Sync, and waits for a session, at most limit and until ended is closed.
func (r *Syncer) Await(ctx context.Context, limit time.Duration, ended <-chan struct{}) *Session {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		r.mu.Lock()
		up := r.up
		r.mu.Unlock()
		select {
		case <-up:
		case <-timer.C:
			return nil
		case <-ended:
			return nil
		case <-ctx.Done():
			return nil
		}
		if s := r.Sync(ctx); s != nil {
			return s
		}
	}
}

// Begin is called before Serve: from now on calls wait for a sync point.
func (r *Syncer) Begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serving = true
	close(r.up)
}

func (r *Syncer) end() {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting, r.serving, r.up = nil, false, make(chan struct{})
	r.mu.Unlock()
	release(waiting, nil)
}

func (r *Syncer) take() []chan *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := r.waiting
	r.waiting = nil
	return waiting
}

// release gives s to all that wait for a sync point; nil is failure.
func release(waiting []chan *Session, s *Session) {
	for _, done := range waiting {
		done <- s
	}
}

// Serve makes sync points on s, by a transaction on the znode path, until s or
// ctx ends or ended is closed.
func (r *Syncer) Serve(ctx context.Context, s *Session, path string, ended <-chan struct{}) {
	defer r.end()
	for {
		select {
		case <-s.ended:
			return
		case <-ended:
			return
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		waiting := r.take()
		if len(waiting) == 0 {
			continue
		}
		if err := s.SyncPoint(ctx, path); err != nil {
			s.Fail(fmt.Errorf("%w: sync point: %w", ErrLost, err))
			release(waiting, nil)
			return
		}
		release(waiting, s)
	}
}
