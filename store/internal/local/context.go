package local

import (
	"context"
	"fmt"
	"time"

	"secretstore/store"
)

// Expired returns nil while ctx lasts, and afterwards an error that matches
// both store.ErrUnavailable and the reason why ctx ended. A backend calls it
// before any work, so that nothing is done for a caller who has given up.
func Expired(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx))
}

// grace is by how much the deadline of a context may be later than a limit and
// take its place.
const grace = time.Second

// EndsWithin says whether the deadline of ctx is at most a second later than
// limit from now: a call that limit bounds then needs no timer of its own.
func EndsWithin(ctx context.Context, limit time.Duration) bool {
	end, ok := ctx.Deadline()
	return ok && time.Until(end) <= limit+grace
}
