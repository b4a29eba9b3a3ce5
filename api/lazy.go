package api

import (
	"context"
	"sync"
	"time"
)

// lazyContext is what context.WithDeadline makes, but it takes a timer, and a
// place in its parent, only when somebody begins to wait for its end: a read that
// is answered from memory waits for nothing, and these two would be a tenth of
// what it costs the server. Make it with lazyTimeout.
type lazyContext struct {
	parent   context.Context
	deadline time.Time

	mu    sync.Mutex
	timed context.Context // nil until somebody waits; guarded by mu
	end   func()          // of timed; guarded by mu
	ended bool            // cancel was called; guarded by mu
}

// lazyTimeout is context.WithTimeout.
func lazyTimeout(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	l := &lazyContext{parent: parent, deadline: time.Now().Add(limit)}
	return l, l.cancel
}

func (l *lazyContext) cancel() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timed == nil && !l.ended && l.over() {
		l.start() // it has ended before, for another reason
	}
	l.ended = true
	if l.end != nil {
		l.end()
	}
}

// over says whether it has ended without cancel.
func (l *lazyContext) over() bool {
	return l.parent.Err() != nil || !time.Now().Before(l.deadline)
}

// start makes the context with the timer. The caller holds mu.
func (l *lazyContext) start() {
	if !l.ended {
		l.timed, l.end = context.WithDeadline(l.parent, l.deadline)
		return
	}
	// What has come since cancel, the deadline for one, is not why it ended.
	l.timed, l.end = context.WithCancel(context.WithoutCancel(l.parent))
	l.end()
}

// begun returns the context with the timer, or nil.
func (l *lazyContext) begun() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.timed
}

func (l *lazyContext) begin() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timed == nil {
		l.start()
	}
	return l.timed
}

// Deadline implements context.Context.
func (l *lazyContext) Deadline() (time.Time, bool) {
	if of, ok := l.parent.Deadline(); ok && of.Before(l.deadline) {
		return of, true
	}
	return l.deadline, true
}

// Done implements context.Context.
func (l *lazyContext) Done() <-chan struct{} { return l.begin().Done() }

// Err implements context.Context.
func (l *lazyContext) Err() error {
	l.mu.Lock()
	waits := l.timed != nil || l.ended
	l.mu.Unlock()
	if waits || l.over() {
		return l.begin().Err()
	}
	return nil
}

// Value implements context.Context. Once there is a context with a timer it
// answers, for context.Cause asks by way of Value.
func (l *lazyContext) Value(key any) any {
	if timed := l.begun(); timed != nil {
		return timed.Value(key)
	}
	return l.parent.Value(key)
}
