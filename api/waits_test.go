package api

import (
	"errors"
	"net/http"
	"testing"

	"secretstore/acl"
)

func TestWatchesAreBoundedByServerAndByUser(t *testing.T) {
	w := newWaits()
	refused := func(uid string, status int) {
		t.Helper()
		_, err := w.enter(waiter{uid: uid})
		var p *problem
		if !errors.As(err, &p) || p.status != status || !p.retry {
			t.Fatalf("%s: %v, want status %d", uid, err, status)
		}
	}
	var leave []func()
	enter := func(uid string, n int) {
		t.Helper()
		for range n {
			l, err := w.enter(waiter{uid: uid})
			if err != nil {
				t.Fatal(err)
			}
			leave = append(leave, l)
		}
	}
	enter("alice", maxUserWaits)
	refused("alice", http.StatusTooManyRequests)
	// A task token in her name is not hers.
	l, err := w.enter(waiterOf(acl.Principal{UID: "alice", Service: acl.BindTo(acl.Service{})}))
	if err != nil {
		t.Fatal(err)
	}
	l()
	enter("bob", maxWaits-maxUserWaits)
	refused("carol", http.StatusServiceUnavailable)
	leave[0]()
	leave = leave[1:]
	refused("bob", http.StatusTooManyRequests)
	enter("carol", 1)
	for _, l := range leave {
		l()
	}
	if w.count() != 0 || len(w.byWho) != 0 {
		t.Errorf("%d wait, of %d users", w.count(), len(w.byWho))
	}
}

func FuzzParseWatch(f *testing.F) {
	f.Add("", "", false)
	f.Add(`"0123456789abcdef0123456789abcdef"`, "60s", true)
	f.Add("0123456789abcdef0123456789abcdef", "10m0.1s", true)
	f.Add(`"`, "9999999h", true)
	f.Fuzz(func(t *testing.T, watch, timeout string, timed bool) {
		q := query{watch: watch, watches: 1, timeout: timeout}
		if timed {
			q.timeouts = 1
		}
		w, err := parseWatch(&q)
		if err != nil {
			var p *problem
			if !errors.As(err, &p) || p.status != http.StatusBadRequest || w != (watchWish{}) {
				t.Fatalf("%+v, %v", w, err)
			}
			return
		}
		if w.timeout < 0 || w.timeout > maxWatch || w.known != "" && w.known != watch && `"`+w.known+`"` != watch {
			t.Errorf("%q, %q: %+v", watch, timeout, w)
		}
		if w.known != "" && !isValueID(w.known) {
			t.Errorf("%q was taken", watch)
		}
	})
}
