package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestLazyContextIsLikeWithTimeout does the same to one of each, and compares
// what they say before and after, whether or not somebody waited in between.
func TestLazyContextIsLikeWithTimeout(t *testing.T) {
	gone := errors.New("the client is gone")
	for name, do := range map[string]func(cancel, cancelParent func()){
		"nothing":                        func(_, _ func()) {},
		"cancelled":                      func(cancel, _ func()) { cancel() },
		"parent cancelled":               func(_, parent func()) { parent() },
		"late":                           func(_, _ func()) { time.Sleep(time.Minute + time.Nanosecond) },
		"late and cancelled":             func(cancel, _ func()) { time.Sleep(time.Hour); cancel() },
		"cancelled and late":             func(cancel, _ func()) { cancel(); time.Sleep(time.Hour) },
		"cancelled and parent cancelled": func(cancel, parent func()) { cancel(); parent() },
		"parent cancelled and cancelled": func(cancel, parent func()) { parent(); cancel() },
	} {
		for _, waits := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				parent, endParent := context.WithCancelCause(context.WithValue(t.Context(), lazyKey{}, "value"))
				defer endParent(nil)
				want, cancelWant := context.WithTimeout(parent, time.Minute)
				defer cancelWant()
				got, cancelGot := lazyTimeout(parent, time.Minute)
				defer cancelGot()
				if waits {
					got.Done()
				}
				do(func() { cancelWant(); cancelGot() }, func() { endParent(gone) })
				synctest.Wait()
				if got.Err() != want.Err() || context.Cause(got) != context.Cause(want) || closed(got) != closed(want) {
					t.Errorf("%s, waited for %v: %v, %v, %v; want %v, %v, %v", name, waits,
						got.Err(), context.Cause(got), closed(got), want.Err(), context.Cause(want), closed(want))
				}
				if a, _ := got.Deadline(); got.Value(lazyKey{}) != "value" || !a.Equal(deadline(want)) {
					t.Errorf("%s: deadline %v, want %v", name, a, deadline(want))
				}
				child, end := context.WithTimeout(got, time.Second)
				defer end()
				if (child.Err() != nil) != (want.Err() != nil) {
					t.Errorf("%s: a child of it: %v, want %v", name, child.Err(), want.Err())
				}
			})
		}
	}
}

// TestAnEarlierDeadlineOfTheParentCounts as with context.WithTimeout.
func TestAnEarlierDeadlineOfTheParentCounts(t *testing.T) {
	parent, end := context.WithTimeout(t.Context(), time.Second)
	defer end()
	ctx, cancel := lazyTimeout(parent, time.Minute)
	defer cancel()
	if got, ok := ctx.Deadline(); !ok || !got.Equal(deadline(parent)) {
		t.Errorf("deadline %v, want %v", got, deadline(parent))
	}
}

type lazyKey struct{}

func closed(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

func deadline(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}
