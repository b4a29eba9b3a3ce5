package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	// firstPause and maxPause bound the wait before a repetition; it doubles
	// each time, and half of it is chance, so that many clients do not come
	// back at once.
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
)

// do makes the request, and again as Config.Retries permits.
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	for try := 0; ; try++ {
		ans, err := c.once(ctx, k)
		if err == nil || try >= c.retries || ctx.Err() != nil || !repeatable(k.method, err) {
			return ans, err
		}
		pause := pauseFor(try, err)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
			return ans, err // which says more than that the time is up
		}
		if !sleep(ctx, pause) {
			return ans, err
		}
	}
}

// repeatable says whether a request that failed with err may be sent again: a
// read that may succeed soon, and a change of which the store has said that it
// did not happen. A sealed store waits for people.
func repeatable(method string, err error) bool {
	if errors.Is(err, ErrSealed) || errors.Is(err, ErrUninitialized) {
		return false
	}
	read := method == http.MethodGet || method == http.MethodHead
	var e *Error
	if !errors.As(err, &e) {
		return read && errors.Is(err, errNoAnswer)
	}
	busy := e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests
	return busy && (read || e.own && e.RetryAfter > 0 && !errors.Is(err, ErrUnknown))
}

// pauseFor returns how long to wait after so many tries, at least as long as
// the server asks.
func pauseFor(try int, err error) time.Duration {
	pause := min(maxPause, firstPause<<min(try, 16))
	var e *Error
	if errors.As(err, &e) {
		pause = max(pause, 2*e.RetryAfter)
	}
	return pause/2 + rand.N(pause/2)
}

// sleep reports whether the time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
