package client

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// The pause before a repetition doubles each time, from firstPause to
// maxPause. It is half to one and a half of that at random, so that many
// clients do not come back at once.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
)

// Retries says how Retry repeats a call. The zero value repeats it until it
// succeeds, fails with an error that is not Temporary, or the context ends.
type Retries struct {
	// Tries is the most calls to make, the first included; 0 means no limit.
	Tries int
	// Again reports whether the call may be repeated after err. Nil is
	// Temporary.
	Again func(err error) bool
	// MaxPause bounds each pause, even if the server asks for a longer one with
	// Retry-After. If it is 0, the server's wish counts. Set it where people or
	// tasks are waiting, and trying too soon is better than giving up.
	MaxPause time.Duration
	// Notify, if not nil, is called before each pause.
	Notify func(err error, pause time.Duration)
}

// Retry calls do, repeats it as r says, and returns the result of the last
// call. The pauses grow, are partly random, and last at least as long as the
// server asked with Retry-After, up to r.MaxPause. If the next pause would outlast
// the deadline of ctx, Retry returns the error at once.
func Retry[T any](ctx context.Context, r Retries, do func(context.Context) (T, error)) (T, error) {
	p := pauses{ExponentialBackOff: newBackOff(r.MaxPause), ctx: ctx, again: r.Again, longest: r.MaxPause}
	if p.again == nil {
		p.again = Temporary
	}
	opts := []backoff.RetryOption{backoff.WithBackOff(&p), backoff.WithMaxTries(uint(r.Tries)), backoff.WithMaxElapsedTime(0)}
	if r.Notify != nil {
		opts = append(opts, backoff.WithNotify(r.Notify))
	}
	result, err := backoff.Retry(ctx, func() (result T, err error) {
		result, err = do(ctx)
		p.last = err
		return result, err
	}, opts...)
	if err != nil {
		err = p.last // if ctx has ended, err says only that
	}
	return result, err
}

// Temporary reports whether a call that failed with err may succeed later
// without anybody's help: there was no answer, or the server, or a proxy in
// front of it, is busy or cut off. A sealed store needs people to unseal it,
// and an unknown certificate needs an administrator.
//
// It does not say whether repeating the call is safe: the call may have had its
// effect.
func Temporary(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		switch e.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return !errors.Is(err, ErrSealed) && !errors.Is(err, ErrUninitialized)
		}
		return false
	}
	var certificate *tls.CertificateVerificationError
	var unanswered *url.Error
	return !errors.As(err, &certificate) && errors.As(err, &unanswered)
}

// pauses is the backoff.BackOff of Retry.
type pauses struct {
	*backoff.ExponentialBackOff
	ctx     context.Context
	again   func(error) bool
	longest time.Duration // of a pause; 0: as long as the server asks
	last    error         // of the last call
}

// NextBackOff implements backoff.BackOff.
func (p *pauses) NextBackOff() time.Duration {
	if !p.again(p.last) {
		return backoff.Stop
	}
	pause := pauseAfter(p.ExponentialBackOff, p.last)
	if p.longest > 0 {
		pause = min(pause, p.longest)
	}
	if deadline, ok := p.ctx.Deadline(); ok && time.Until(deadline) < pause {
		return backoff.Stop
	}
	return pause
}

// newBackOff returns the pauses of a client that the server asks for none. They
// stay random below longest, if that is not 0.
func newBackOff(longest time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = firstPause, maxPause, 2
	if longest > 0 {
		b.MaxInterval = min(maxPause, longest*2/3)
	}
	return b
}

// pauseAfter returns the next pause, at least as long as the server asked for
// in err.
func pauseAfter(b *backoff.ExponentialBackOff, err error) time.Duration {
	pause := b.NextBackOff()
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		pause = max(pause, e.RetryAfter+rand.N(e.RetryAfter))
	}
	return pause
}

// do makes the request at one server or more, and repeats that as Config.Retries
// permits.
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	again := func(err error) bool { return Temporary(err) && k.repeatable(err) }
	return Retry(ctx, Retries{Tries: max(0, c.retries) + 1, Again: again}, func(ctx context.Context) (answer, error) {
		return atServers(ctx, c, k, c.once)
	})
}

// repeatable reports whether it is safe to send the request again after err:
// any read, and anything else if the store itself says that nothing happened.
// A resolve is not a read: its answer may consume a use of a task token. Nor is
// any other read with such a token, if its outcome is unknown.
func (k *call) repeatable(err error) bool {
	if errors.Is(err, ErrUnknown) {
		return false
	}
	if k.reads || k.method == http.MethodGet || k.method == http.MethodHead {
		return true
	}
	var e *Error
	return errors.As(err, &e) && e.own && e.RetryAfter > 0
}
