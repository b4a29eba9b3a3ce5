package watch

import (
	"fmt"
	"net/http"
	"testing"

	"secretstore/acl"
	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
)

// TestWatchesAreSharedOut: a user has an eighth of the places at most, and a
// server that has none left says so otherwise.
func TestWatchesAreSharedOut(t *testing.T) {
	l := NewLimits()
	var leave []func()
	enter := func(uid string, status int) {
		t.Helper()
		who := pool.Of(acl.Principal{UID: uid})
		for {
			out, err := l.Enter(who)
			if err != nil {
				if p := problem.Of(err); p.Status != status || !p.Retry {
					t.Errorf("%s: %v, want status %d", uid, err, status)
				}
				return
			}
			leave = append(leave, out)
		}
	}
	for i := range 8 {
		enter(fmt.Sprint("user", i), http.StatusTooManyRequests)
		if want := (i + 1) * maxWatches / 8; l.Count() != want {
			t.Fatalf("%d watches, want %d", l.Count(), want)
		}
	}
	enter("late", http.StatusServiceUnavailable)
	for _, out := range leave {
		out()
	}
	if l.Count() != 0 {
		t.Errorf("%d watches are left", l.Count())
	}
}
