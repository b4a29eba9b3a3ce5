package local

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"

	"secretstore/store"
)

// PaceBurst is how many records a Pace lets pass at once.
const PaceBurst = 256

// Pace bounds how many records are read per second. Make it with NewPace.
type Pace struct{ limiter *rate.Limiter }

// NewPace returns a Pace of so many records per second; 0 is any number.
func NewPace(perSecond int) Pace {
	limit := rate.Inf
	if perSecond > 0 {
		limit = rate.Limit(perSecond)
	}
	return Pace{rate.NewLimiter(limit, PaceBurst)}
}

// Wait waits until n more records may be read, at most PaceBurst. If that would be
// after the end of ctx, it fails at once. store.ErrUnavailable.
func (p Pace) Wait(ctx context.Context, n int) error {
	if err := Expired(ctx); err != nil {
		return err
	}
	if err := p.limiter.WaitN(ctx, n); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return nil
}
