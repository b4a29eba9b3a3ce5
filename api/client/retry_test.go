package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
)

const ownProblem = `{"title":"503 Service Unavailable","description":"`

// TestWhatIsRepeated: reads that may succeed soon, and changes of which the
// store says that they did not happen.
func TestWhatIsRepeated(t *testing.T) {
	get := func(c *client.Client) error { _, err := c.Get(t.Context(), "a", client.GetOptions{}); return err }
	put := func(c *client.Client) error { return c.CreateText(t.Context(), "a", wire.SecretWrite{Value: "v"}) }
	for name, row := range map[string]struct {
		call       func(*client.Client) error
		status     int
		retryAfter string
		body       string
		repeated   bool
	}{
		"GET, storage away":         {get, 503, "1", ownProblem + `storage unreachable"}`, true},
		"GET, a proxy":              {get, 503, "", "busy", true},
		"GET, too many":             {get, 429, "1", `{"title":"429 Too Many Requests","description":"too many watches"}`, true},
		"GET, sealed":               {get, 503, "", ownProblem + `the secret store is sealed"}`, false},
		"GET, not initialized":      {get, 503, "", ownProblem + `the secret store is not initialized"}`, false},
		"GET, not found":            {get, 404, "", `{"title":"404 Not Found","description":"does not exist"}`, false},
		"GET, server's fault":       {get, 500, "", `{"title":"500 Internal Server Error","description":"internal error"}`, false},
		"GET, cut off":              {get, 0, "", "", true},
		"PUT, storage away":         {put, 503, "1", ownProblem + `storage unreachable"}`, true},
		"PUT, outcome unknown":      {put, 503, "1", ownProblem + `outcome unknown"}`, false},
		"PUT, done but not audited": {put, 503, "", ownProblem + `the audit log cannot be written; before that, the secret was created"}`, false},
		"PUT, a proxy":              {put, 503, "1", "busy", false},
		"PUT, cut off":              {put, 0, "", "", false},
		"PUT, exists":               {put, 409, "", `{"title":"409 Conflict","description":"already exists"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var received atomic.Int32
			bodies := make(chan string, 10)
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				bodies <- string(body)
				if received.Add(1) > 1 {
					w.Header().Set("Content-Type", wire.TypeBinary)
					return
				}
				if row.status == 0 {
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					conn.Close()
					return
				}
				w.Header().Set("Retry-After", row.retryAfter)
				w.WriteHeader(row.status)
				io.WriteString(w, row.body)
			})
			began := time.Now()
			err := row.call(newClient(t, client.Config{Server: s.URL, Retries: 3, SingleUse: true}))
			if repeated := received.Load() == 2; repeated != row.repeated || (err == nil) != row.repeated {
				t.Errorf("sent %d times, %v", received.Load(), err)
			}
			if row.repeated {
				if first, second := <-bodies, <-bodies; first != second {
					t.Errorf("sent %q, then %q", first, second)
				}
				if row.retryAfter != "" && time.Since(began) < time.Second {
					t.Error("before the time that Retry-After says")
				}
			}
		})
	}
}

func TestRepetitionsEnd(t *testing.T) {
	var received atomic.Int32
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		received.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := newClient(t, client.Config{Server: s.URL, Retries: 2})
	if _, err := c.Get(t.Context(), "a", client.GetOptions{}); !errors.Is(err, client.ErrUnavailable) || received.Load() != 3 {
		t.Errorf("sent %d times, %v", received.Load(), err)
	}
	// A deadline that comes before the next try ends them, with the reason.
	received.Store(0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Get(ctx, "a", client.GetOptions{}); !errors.Is(err, client.ErrUnavailable) || received.Load() != 1 {
		t.Errorf("sent %d times, %v", received.Load(), err)
	}
	// Nobody listens: a read is tried again, a change is not.
	s.Close()
	if _, err := c.Get(t.Context(), "a", client.GetOptions{}); err == nil {
		t.Error("no error")
	}
}
