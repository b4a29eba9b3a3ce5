// Package writes remembers whether a storage takes writes.
package writes

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"secretstore/store"
)

// Health is what the last write showed. Its zero value has seen none.
type Health struct {
	// Fresh is how long a fault is reported; 0 is until a write succeeds. Where
	// writes also fail because a connection is lost, that is over long before
	// somebody writes again.
	Fresh time.Duration

	last atomic.Pointer[fault]
}

type fault struct {
	err error
	at  time.Time
}

// Note takes the result of a write. A condition that did not hold is not a
// fault, and neither is a caller that left.
func (h *Health) Note(err error) {
	var refused *store.OpError
	switch {
	case err == nil, errors.As(err, &refused):
		if h.last.Load() != nil {
			h.last.Store(nil)
		}
	case errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.Canceled):
		h.last.Store(&fault{err, time.Now()})
	}
}

// Fault is what store.WriteReporter asks for.
func (h *Health) Fault() error {
	last := h.last.Load()
	if last == nil || h.Fresh > 0 && time.Since(last.at) > h.Fresh {
		return nil
	}
	return last.err
}
