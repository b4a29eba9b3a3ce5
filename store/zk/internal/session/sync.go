package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"
)

const (
	// maxWaiting bounds how many callers share one sync point, so that the checks
	// of all of them are far from the largest packet.
	maxWaiting = 512
	// maxRefusals bounds how often a sync point is made again without the check
	// that was refused; the last time it is made without any.
	maxRefusals = 3
)

// Syncer makes sync points on one session at a time, one after the other. All
// that wait for a sync point share the next one. A read that is sent once a sync
// point has passed is at least as new as every write that was acknowledged, on
// any connection, before the sync point began. The transaction that is the sync
// point also checks the versions that callers ask about. Make it with NewSyncer.
type Syncer struct {
	wake chan struct{} // holds a token when a caller waits

	mu      sync.Mutex
	up      chan struct{} // closed while there is a session; guarded by mu
	serving bool          // guarded by mu
	waiting []waiter      // guarded by mu
}

// waiter is a caller that waits for a sync point.
type waiter struct {
	check zkc.CheckVersionRequest // what the sync point is to check; the zero value is nothing
	done  chan *Session           // gets the session, or nil
}

// NewSyncer returns a Syncer without a session.
func NewSyncer() *Syncer { return &Syncer{wake: make(chan struct{}, 1), up: make(chan struct{})} }

// Sync returns a session on which a sync point has passed that began after the
// call did; nil if there is no session, or ctx ends.
func (r *Syncer) Sync(ctx context.Context) *Session {
	return r.wait(ctx, zkc.CheckVersionRequest{})
}

// Confirm says whether the znode path was at version at a sync point that began
// after the call did. It also says no if it could not find out.
func (r *Syncer) Confirm(ctx context.Context, path string, version int32) bool {
	return r.wait(ctx, zkc.CheckVersionRequest{Path: path, Version: version}) != nil
}

func (r *Syncer) wait(ctx context.Context, check zkc.CheckVersionRequest) *Session {
	done := make(chan *Session, 1)
	r.mu.Lock()
	if !r.serving {
		r.mu.Unlock()
		return nil
	}
	r.waiting = append(r.waiting, waiter{check, done})
	r.mu.Unlock()
	r.poke()
	select {
	case s := <-done:
		return s
	case <-ctx.Done():
		return nil
	}
}

func (r *Syncer) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
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

func (r *Syncer) take() []waiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.waiting), maxWaiting)
	waiting := r.waiting[:n:n]
	if r.waiting = r.waiting[n:]; len(r.waiting) > 0 {
		r.poke()
	} else {
		r.waiting = nil
	}
	return waiting
}

// release gives s to all of waiting; nil is failure.
func release(waiting []waiter, s *Session) {
	for _, w := range waiting {
		w.done <- s
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
		if waiting := r.take(); len(waiting) > 0 {
			if err := pass(ctx, s, path, waiting); err != nil {
				s.Fail(fmt.Errorf("%w: sync point: %w", ErrLost, err))
				return
			}
		}
	}
}

// pass makes a sync point on s and releases waiting. The callers whose check is
// refused get nil, and the sync point is made again for the others. An error is of
// the session.
func pass(ctx context.Context, s *Session, path string, waiting []waiter) error {
	for refusals := 1; len(waiting) > 0; refusals++ {
		ops := syncPoint(path, waiting)
		results, err := s.Transact(ctx, ops...)
		if err == nil {
			release(waiting, s)
			return nil
		}
		at := Culprit(results)
		if !errors.Is(err, ErrRefused) || at == 0 {
			release(waiting, nil)
			return err
		}
		refused := *ops[at].(*zkc.CheckVersionRequest)
		waiting = slices.DeleteFunc(waiting, func(w waiter) bool {
			no := w.check == refused || refusals == maxRefusals && w.check.Path != ""
			if no {
				w.done <- nil
			}
			return no
		})
	}
	return nil
}

// syncPoint returns the operations of a sync point on the znode path: one that
// does nothing, and then each check once.
func syncPoint(path string, waiting []waiter) []any {
	ops := []any{&zkc.CheckVersionRequest{Path: path, Version: -1}}
	asked := map[zkc.CheckVersionRequest]bool{{}: true}
	for _, w := range waiting {
		if !asked[w.check] {
			asked[w.check] = true
			ops = append(ops, &w.check)
		}
	}
	return ops
}
