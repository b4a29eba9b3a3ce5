package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
)

const ownProblem = `{"title":"503 Service Unavailable","description":"`

// TestWhatIsRepeated: reads that may succeed soon, and other requests of which
// the store says that nothing happened.
func TestWhatIsRepeated(t *testing.T) {
	get := func(c *client.Client) error { _, err := c.Get(t.Context(), "a", client.GetOptions{}); return err }
	resolve := func(c *client.Client) error {
		_, err := c.Resolve(t.Context(), []byte("{}"), client.ResolveOptions{})
		return err
	}
	check := func(c *client.Client) error {
		_, err := c.Check(t.Context(), []byte("{}"))
		return err
	}
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
		"GET, a proxy, cut off":     {get, 502, "", "bad gateway", true},
		"check, cut off":            {check, 0, "", "", true},
		"check, a proxy, cut off":   {check, 504, "", "gateway timeout", true},
		"resolve, storage away":     {resolve, 503, "1", ownProblem + `storage unreachable"}`, true},
		"resolve, outcome unknown":  {resolve, 503, "1", ownProblem + `outcome unknown"}`, false},
		"resolve, use not audited":  {resolve, 503, "", ownProblem + `the audit log cannot be written; before that, a use of the task token was recorded"}`, false},
		"resolve, a proxy":          {resolve, 502, "1", "bad gateway", false},
		"resolve, a proxy, cut off": {resolve, 504, "", "gateway timeout", false},
		"resolve, cut off":          {resolve, 0, "", "", false},
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
					io.WriteString(w, `{"findings":[]}`)
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

// TestRetry compares the calls of Retry, and the time they take, with what its
// options say.
func TestRetry(t *testing.T) {
	busy := &client.Error{Status: 503, RetryAfter: 5 * time.Second}
	busyLong := &client.Error{Status: 503, RetryAfter: 10 * time.Minute}
	denied := &client.Error{Status: 403}
	odd := errors.New("odd")
	for name, row := range map[string]struct {
		retries  client.Retries
		timeout  time.Duration
		fail     []error // of the calls, in order; then they succeed
		calls    int
		want     error
		min, max time.Duration
	}{
		"at once":                {client.Retries{}, time.Hour, nil, 1, nil, 0, 0},
		"after a pause":          {client.Retries{}, time.Hour, []error{busy}, 2, nil, 5 * time.Second, 10 * time.Second},
		"not after a refusal":    {client.Retries{}, time.Hour, []error{denied}, 1, denied, 0, 0},
		"as Again says":          {client.Retries{Again: func(err error) bool { return err == odd }}, time.Hour, []error{odd, odd, busy}, 3, busy, 300 * time.Millisecond, 900 * time.Millisecond},
		"as often as Tries says": {client.Retries{Tries: 2}, time.Hour, []error{busy, busy, busy}, 2, busy, 5 * time.Second, 10 * time.Second},
		"not beyond a deadline":  {client.Retries{}, 4 * time.Second, []error{busy, busy}, 1, busy, 0, 0},
		"too long a pause":       {client.Retries{}, time.Minute, []error{busyLong, busyLong}, 1, busyLong, 0, 0},
		"a bounded pause":        {client.Retries{MaxPause: 5 * time.Second}, time.Minute, []error{busyLong, busyLong}, 3, nil, 10 * time.Second, 10 * time.Second},
		"until the deadline":     {client.Retries{MaxPause: 5 * time.Second}, 12 * time.Second, slices.Repeat([]error{busyLong}, 9), 3, busyLong, 10 * time.Second, 10 * time.Second},
		"growing pauses up to a bound": {client.Retries{MaxPause: time.Second, Tries: 9, Again: func(error) bool { return true }}, time.Hour,
			slices.Repeat([]error{odd}, 20), 9, odd, 2 * time.Second, 7 * time.Second},
		"growing pauses": {client.Retries{Tries: 9, Again: func(error) bool { return true }}, time.Hour,
			slices.Repeat([]error{odd}, 20), 9, odd, 16 * time.Second, 49 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), row.timeout)
				defer cancel()
				calls, notified := 0, 0
				row.retries.Notify = func(err error, _ time.Duration) {
					if err != row.fail[notified] {
						t.Errorf("notified of %v", err)
					}
					notified++
				}
				began := time.Now()
				got, err := client.Retry(ctx, row.retries, func(context.Context) (int, error) {
					calls++
					if calls <= len(row.fail) {
						return 0, row.fail[calls-1]
					}
					return 7, nil
				})
				if took := time.Since(began); calls != row.calls || notified != calls-1 || err != row.want || (err == nil) != (got == 7) || took < row.min || took > row.max {
					t.Errorf("%d calls, %d notified, %v, %d, after %v", calls, notified, err, got, took)
				}
			})
		})
	}
}

// TestRetryEndsWithItsContext and returns the error of the last call.
func TestRetryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	away := &client.Error{Status: 503}
	_, err := client.Retry(ctx, client.Retries{Notify: func(error, time.Duration) { cancel() }}, func(context.Context) (int, error) { return 0, away })
	if err != away {
		t.Error(err)
	}
}

func TestTemporary(t *testing.T) {
	for err, want := range map[error]bool{
		&client.Error{Status: 503}: true,
		&client.Error{Status: 429}: true,
		&client.Error{Status: 502}: true,
		&client.Error{Status: 504}: true,
		&client.Error{Status: 500}: false,
		&client.Error{Status: 404}: false,
		&client.Error{Status: 503, Description: "the secret store is sealed: …"}:         false,
		&client.Error{Status: 503, Description: "not initialized: …"}:                    false,
		&url.Error{Op: "Get", URL: "http://x", Err: io.EOF}:                              true,
		&url.Error{Op: "Get", URL: "http://x", Err: &tls.CertificateVerificationError{}}: false,
		errors.New("odd"): false,
	} {
		if got := client.Temporary(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%#v: %v", err, got)
		}
	}
}

func TestRepetitionsEnd(t *testing.T) {
	var received atomic.Int32
	var retryAfter atomic.Value
	retryAfter.Store("")
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		received.Add(1)
		w.Header().Set("Retry-After", retryAfter.Load().(string))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := newClient(t, client.Config{Server: s.URL, Retries: 2})
	if _, err := c.Get(t.Context(), "a", client.GetOptions{}); !errors.Is(err, client.ErrUnavailable) || received.Load() != 3 {
		t.Errorf("sent %d times, %v", received.Load(), err)
	}
	// A deadline that comes before the next try ends them, with the reason.
	received.Store(0)
	retryAfter.Store("600")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Get(ctx, "a", client.GetOptions{}); !errors.Is(err, client.ErrUnavailable) || received.Load() != 1 {
		t.Errorf("sent %d times, %v", received.Load(), err)
	}
	// Without a server, a read is repeated.
	s.Close()
	if _, err := c.Get(t.Context(), "a", client.GetOptions{}); err == nil {
		t.Error("no error")
	}
}
