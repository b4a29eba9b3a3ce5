package watch

import (
	"net/http"
	"testing"

	"secretstore/acl"
	"secretstore/api/internal/problem"
)

func TestWatchesAreBoundedByServerAndByUser(t *testing.T) {
	w := NewLimits()
	refused := func(uid string, status int) {
		t.Helper()
		_, err := w.Enter(Watcher{uid: uid})
		if p := problem.Of(err); p.Status != status || !p.Retry {
			t.Fatalf("%s: %v, want status %d", uid, err, status)
		}
	}
	var leave []func()
	enter := func(uid string, n int) {
		t.Helper()
		for range n {
			l, err := w.Enter(Watcher{uid: uid})
			if err != nil {
				t.Fatal(err)
			}
			leave = append(leave, l)
		}
	}
	enter("alice", maxUserWatches)
	refused("alice", http.StatusTooManyRequests)
	// A task token in her name is not hers.
	l, err := w.Enter(ByPrincipal(acl.Principal{UID: "alice", Service: acl.BindTo(acl.Service{})}))
	if err != nil {
		t.Fatal(err)
	}
	l()
	enter("bob", maxWatches-maxUserWatches)
	refused("carol", http.StatusServiceUnavailable)
	leave[0]()
	leave = leave[1:]
	refused("bob", http.StatusTooManyRequests)
	enter("carol", 1)
	for _, l := range leave {
		l()
	}
	if w.Count() != 0 || len(w.byUser) != 0 {
		t.Errorf("%d wait, of %d users", w.Count(), len(w.byUser))
	}
}
