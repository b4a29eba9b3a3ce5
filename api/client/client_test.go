package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"secretstore/api/client"
	"secretstore/api/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func tokenSource(raw string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return raw, nil }
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestInvalidAddressesAreRefused(t *testing.T) {
	for _, bad := range []string{"", "localhost:1337", "127.0.0.1", "ftp://x", "http://", "http://u:CANARY@x", "http://x?y", "http://x#y", "://", "unix:/x"} {
		if _, err := client.New(client.Config{Server: bad}); err == nil {
			t.Errorf("%q was taken", bad)
		} else if strings.Contains(err.Error(), "CANARY") {
			t.Errorf("error holds the password: %v", err)
		}
	}
}

func TestPathsAreEscapedByComponent(t *testing.T) {
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { got = r.RequestURI; w.WriteHeader(http.StatusNoContent) })
	for _, row := range []struct{ server, path, want string }{
		{s.URL, "a/b", "/secrets/v1/secret/default/a/b"},
		{s.URL + "/", "/a//b/", "/secrets/v1/secret/default/a/b"},
		{s.URL + "/secrets/v1/", "a b/ä?x#y%2F", "/secrets/v1/secret/default/a%20b/%C3%A4%3Fx%23y%252F"},
		{s.URL + "/prefix", "..", "/prefix/secrets/v1/secret/default/.."},
	} {
		if err := newClient(t, client.Config{Server: row.server}).Delete(t.Context(), row.path); err != nil {
			t.Fatal(err)
		}
		if got != row.want {
			t.Errorf("%q: %s, want %s", row.path, got, row.want)
		}
	}
}

// TestRedirects: a write is never repeated elsewhere, and the token goes to no
// other host.
func TestRedirects(t *testing.T) {
	other := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the client followed to another host") })
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	var to string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			if r.Method != http.MethodGet || r.Header.Get("Authorization") != "token=x" {
				t.Errorf("%s with %q was redirected", r.Method, r.Header.Get("Authorization"))
			}
			w.Header().Set("Content-Type", wire.TypeBinary)
			io.WriteString(w, "value")
			return
		}
		http.Redirect(w, r, to, http.StatusPermanentRedirect)
	})
	c := newClient(t, client.Config{Server: s.URL, Token: tokenSource("x")})
	to = s.URL + "/end"
	if got, err := c.Get(t.Context(), "a", client.GetOptions{}); err != nil || string(got.Value) != "value" {
		t.Errorf("%q, %v", got.Value, err)
	}
	if err := c.CreateText(t.Context(), "a", wire.SecretWrite{Value: "v"}); err == nil {
		t.Error("a PUT followed a redirect")
	}
	for _, to = range []string{elsewhere, s.URL + "/loop"} {
		if _, err := c.Get(t.Context(), "a", client.GetOptions{}); err == nil {
			t.Errorf("a GET followed to %s", to)
		}
	}
}

func TestForeignAnswersAreErrorsThatHelp(t *testing.T) {
	var status int
	var body, contentType string
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	c := newClient(t, client.Config{Server: s.URL, MaxAnswer: 1000})
	for _, row := range []struct {
		status     int
		kind, body string
	}{
		{200, "text/html", "<html>CANARY"}, {200, wire.TypeJSON, `{"value":1,"CANARY":`}, {200, wire.TypeJSON, `{"value":"CANARY","created":"CANARY"}`},
		{502, "text/html", "<html>CANARY"}, {404, "", ""}, {200, wire.TypeBinary, strings.Repeat("CANARY", 1000)},
	} {
		status, contentType, body = row.status, row.kind, row.body
		_, err := c.Get(t.Context(), "a", client.GetOptions{})
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v: %v", row, err)
		}
		if json.Valid([]byte(row.body)) {
			continue
		}
		if _, err := c.SealStatus(t.Context()); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v: %v", row, err)
		}
	}
	status, contentType, body = 200, wire.TypeJSON, `{"array":["a"],"next":"a"}`
	if _, err := c.List(t.Context(), ""); err == nil {
		t.Error("a server that pages in circles was followed")
	}
	status, contentType, body = 403, wire.TypeJSON, `{"title":"403 Forbidden","description":"no\u001b[2K\nway"}`
	_, err := c.Get(t.Context(), "a", client.GetOptions{})
	if !errors.Is(err, client.ErrDenied) || err.Error() != "403 Forbidden: no[2Kway" {
		t.Errorf("%q", err)
	}
}

func TestTLSIsVerified(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "pong") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake
	s.StartTLS()
	defer s.Close()
	if err := newClient(t, client.Config{Server: s.URL}).Ping(t.Context()); err == nil {
		t.Error("an unknown certificate was taken")
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	if err := newClient(t, client.Config{Server: s.URL, TLS: &tls.Config{RootCAs: roots}}).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestATokenSourceThatFailsSendsNothing(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	failed := errors.New("no token file")
	c := newClient(t, client.Config{Server: s.URL, Token: func(context.Context) (string, error) { return "", failed }})
	if _, err := c.Stores(t.Context()); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
}

// TestNothingIsRepeated breaks each request on a connection that has served one
// before, where net/http repeats what it thinks harmless. The read without
// SingleUse is the documented exception, and shows that the break provokes it.
func TestNothingIsRepeated(t *testing.T) {
	var received atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/ping/") {
			io.WriteString(w, "pong")
			return
		}
		received.Add(1)
		io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	calls := map[string]func(*client.Client) error{
		"PUT":            func(c *client.Client) error { return c.CreateText(t.Context(), "a", wire.SecretWrite{Value: "v"}) },
		"PATCH":          func(c *client.Client) error { return c.UpdateBinary(t.Context(), "a", []byte("v")) },
		"PUT, no body":   func(c *client.Client) error { _, err := c.Rotate(t.Context()); return err },
		"DELETE":         func(c *client.Client) error { return c.CancelRekey(t.Context(), "00") },
		"PUT of a rekey": func(c *client.Client) error { _, err := c.StartRekey(t.Context(), wire.RekeyRequest{}); return err },
		"GET":            func(c *client.Client) error { _, err := c.RekeyStatus(t.Context()); return err },
	}
	for name, call := range calls {
		for _, single := range []bool{false, true} {
			c := newClient(t, client.Config{Server: s.URL, SingleUse: single})
			if err := c.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			received.Store(0)
			if err := call(c); err == nil {
				t.Errorf("%s: no error", name)
			}
			want := int32(1)
			if name == "GET" && !single {
				want = 2
			}
			if got := received.Load(); got != want {
				t.Errorf("%s, SingleUse %v: sent %d times, want %d", name, single, got, want)
			}
		}
	}
}

// TestStatusLinesCannotControlATerminal has a server with control characters
// where net/http takes any text.
func TestStatusLinesCannotControlATerminal(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 404 \x1b[2Jgone\r\nContent-Length: 0\r\n\r\n")
	})
	_, err := newClient(t, client.Config{Server: s.URL}).Get(t.Context(), "a", client.GetOptions{})
	if err == nil || errors.Is(err, client.ErrNotFound) || strings.ContainsRune(err.Error(), 0x1b) {
		t.Errorf("%q", err)
	}
}
