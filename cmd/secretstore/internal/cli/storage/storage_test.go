package storage

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/store"
)

// TestAStorageThatAnswersLateIsReached, and one that never does, or says that it
// will not, is not waited for longer.
func TestAStorageThatAnswersLateIsReached(t *testing.T) {
	closed := errors.New("closed")
	for name, row := range map[string]struct {
		answers time.Duration // from when on
		says    error
		want    error
		took    time.Duration // at most
	}{
		"at once": {0, nil, nil, 0},
		"late":    {3 * time.Second, nil, nil, 4 * time.Second},
		"never":   {time.Hour, nil, store.ErrUnavailable, contactTime},
		"no":      {0, closed, closed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), contactTime)
				defer cancel()
				err := reach(ctx, func(ctx context.Context) error {
					if time.Since(began) >= row.answers {
						return row.says
					}
					select {
					case <-time.After(800 * time.Millisecond):
						return store.ErrUnavailable
					case <-ctx.Done():
						return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
					}
				})
				if took := time.Since(began); !errors.Is(err, row.want) || errors.Is(err, context.DeadlineExceeded) || took > row.took+time.Second {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}
