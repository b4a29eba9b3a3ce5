package client_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/internal/pipes"
	"secretstore/api/wire"
)

// next demands the next change.
func next(t *testing.T, pull func() (client.Change, error, bool), want client.Change) {
	t.Helper()
	got, err, ok := pull()
	if got.ETag != "" {
		got.ETag = "set"
	}
	if err != nil || !ok || got != want {
		t.Errorf("%+v, %v, %v, want %+v", got, err, ok, want)
	}
}

func TestChangesYieldsWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := serveStore(t)
		pull, stop := iter.Pull2(c.Changes(t.Context(), "/group/", client.ChangesOptions{Resume: true}))
		defer stop()
		next(t, pull, client.Change{Resync: true})
		create(t, c, "other", "v")
		create(t, c, "group/a", "v")
		next(t, pull, client.Change{Path: "group/a", Version: 1, ETag: "set"})
		go func() {
			time.Sleep(time.Hour) // heartbeats keep the connection alive
			update(t, c, "group/a", "w")
		}()
		next(t, pull, client.Change{Path: "group/a", Version: 2, ETag: "set"})
		if err := c.Delete(t.Context(), "group/a"); err != nil {
			t.Fatal(err)
		}
		next(t, pull, client.Change{Path: "group/a", Deleted: true})
	})
}

func TestChangesEndsWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, c := serveStore(t)
		fails := func(ctx context.Context, what string, want error, when func()) {
			t.Helper()
			pull, stop := iter.Pull2(c.Changes(ctx, "", client.ChangesOptions{Resume: true}))
			defer stop()
			if when != nil {
				next(t, pull, client.Change{Resync: true})
				when()
			}
			if got, err, _ := pull(); !errors.Is(err, want) || got != (client.Change{}) {
				t.Errorf("%s: %+v, %v, want %v", what, got, err, want)
			}
			if _, _, ok := pull(); ok {
				t.Errorf("%s: it continues", what)
			}
		}
		fails(t.Context(), "sealed meanwhile", client.ErrSealed, func() { server.sealed(t) })
		fails(t.Context(), "sealed", client.ErrSealed, nil)
		server.unseal(t)
		ctx, cancel := context.WithCancel(t.Context())
		fails(ctx, "canceled", context.Canceled, cancel)
		fails(t.Context(), "denied meanwhile", client.ErrDenied, func() { server.policy.Store((*acl.Policy)(nil).WithSuperusers("else")) })
		fails(t.Context(), "denied", client.ErrDenied, nil)
	})
}

// TestChangesGivesUpOnASilentServer: a connection that a router has forgotten
// stays open for ever.
func TestChangesGivesUpOnASilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipes.Listen()
		web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", wire.TypeEvents)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})}
		go web.Serve(l)
		t.Cleanup(func() { web.Close() })
		c := newClient(t, client.Config{Server: "http://127.0.0.1:1"})
		c.DialWith(l.Dial)
		began := time.Now()
		for change, err := range c.Changes(t.Context(), "", client.ChangesOptions{}) {
			if err == nil {
				t.Errorf("%+v", change)
			}
		}
		if took := time.Since(began); took != 45*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// TestChangesEndsWithItsLoop leaves no goroutine and no connection behind.
func TestChangesEndsWithItsLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := serveStore(t)
		for range c.Changes(t.Context(), "", client.ChangesOptions{Resume: true}) {
			break
		}
	})
}
