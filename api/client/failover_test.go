package client_test

import (
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// taskToken returns a token that has so many uses. Nobody can verify it.
func taskToken(uses string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + part([]byte(`{"uid":"u","service":"/a","exp":4102444800,"jti":"0","uses":`+uses+`}`)) + ".c2ln"
}

// failing returns a handler that fails in the named way.
func failing(t *testing.T, how string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		status, text := http.StatusServiceUnavailable, ""
		switch how {
		case "cut off":
			panic(http.ErrAbortHandler)
		case "cut off in the answer":
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "storage unreachable":
			text = ownProblem + `the storage is unreachable"}`
		case "sealed":
			text = ownProblem + `the secret store is sealed"}`
		case "outcome unknown":
			text = ownProblem + `outcome unknown"}`
		case "not audited":
			text = ownProblem + `the audit log cannot be written; before that, the secret was created"}`
		case "proxy":
			status = http.StatusBadGateway
		case "wrong server":
			status = http.StatusNotFound
		default:
			t.Errorf("how to fail by %s?", how)
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// working answers every call, and counts them.
func working(count *atomic.Int32) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		if strings.Contains(r.URL.Path, "/resolve/") {
			io.WriteString(w, `{}`)
			return
		}
		w.Header().Set("Content-Type", wire.TypeBinary)
		w.Header().Set("ETag", `"1"`)
		io.WriteString(w, "value")
	}
}

// TestNextServerAnswers where that is safe, and elsewhere the error names the
// server.
func TestNextServerAnswers(t *testing.T) {
	get := func(c *client.Client) error { _, err := c.Get(t.Context(), "a", client.GetOptions{}); return err }
	resolve := func(c *client.Client) error {
		_, err := c.Resolve(t.Context(), []byte("{}"), client.ResolveOptions{})
		return err
	}
	put := func(c *client.Client) error { return c.CreateText(t.Context(), "a", wire.SecretWrite{Value: "v"}) }
	remove := func(c *client.Client) error { return c.Delete(t.Context(), "a") }
	const (
		moved   = "moved"
		unknown = "unknown"
		refused = "refused"
	)
	for how, want := range map[string]struct{ read, effect string }{
		"no server":             {moved, moved},
		"cut off":               {moved, unknown},
		"cut off in the answer": {moved, unknown},
		"storage unreachable":   {moved, moved},
		"sealed":                {moved, moved},
		"outcome unknown":       {moved, unknown},
		"not audited":           {moved, refused},
		"proxy":                 {moved, unknown},
		"wrong server":          {refused, refused},
	} {
		for name, row := range map[string]struct {
			call  func(*client.Client) error
			token string
			want  string
		}{
			"GET": {get, "x", want.read}, "GET, any number of uses": {get, taskToken("0"), want.read}, "GET, counted": {get, taskToken("1"), want.effect},
			"resolve": {resolve, "x", want.read}, "resolve, counted": {resolve, taskToken("3"), want.effect},
			"PUT": {put, "x", want.effect}, "DELETE": {remove, "x", want.effect},
		} {
			t.Run(how+"/"+name, func(t *testing.T) {
				t.Parallel()
				bad := "http://127.0.0.1:1"
				if how != "no server" {
					bad = serve(t, failing(t, how)).URL
				}
				var count atomic.Int32
				good := serve(t, working(&count))
				c := newClient(t, client.Config{Server: bad, Servers: []string{good.URL}, Token: tokenSource(row.token), SingleUse: true})
				err := row.call(c)
				switch row.want {
				case moved:
					if err != nil || count.Load() != 1 {
						t.Errorf("%v; the other server had %d calls", err, count.Load())
					}
				default:
					if err == nil || count.Load() != 0 || !strings.Contains(err.Error(), bad) {
						t.Errorf("%v; the other server had %d calls", err, count.Load())
					}
					if got := errors.Is(err, client.ErrUnknown); got != (row.want == unknown) || got != strings.HasPrefix(err.Error(), "outcome unknown on "+bad) {
						t.Errorf("%v", err)
					}
				}
			})
		}
	}
}

// TestChangeOverHTTP2IsSentOnce: what tells that nothing was sent works there, too.
func TestChangeOverHTTP2IsSentOnce(t *testing.T) {
	var count atomic.Int32
	start := func(h http.HandlerFunc) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	bad := start(func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the request came with %s", r.Proto)
		}
		panic(http.ErrAbortHandler)
	})
	good := start(working(&count))
	tlsOf := good.Client().Transport.(*http.Transport).TLSClientConfig
	c := newClient(t, client.Config{Servers: []string{bad.URL, good.URL}, TLS: tlsOf})
	for range 2 { // on a new connection, and on the same one
		if err := c.CreateText(t.Context(), "a", wire.SecretWrite{Value: "v"}); !errors.Is(err, client.ErrUnknown) || count.Load() != 0 {
			t.Errorf("%v; the other server had %d calls", err, count.Load())
		}
	}
	if _, err := c.Get(t.Context(), "a", client.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// TestUnknownCertificateIsNoConnection: nothing was sent.
func TestUnknownCertificateIsNoConnection(t *testing.T) {
	var count atomic.Int32
	bad := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") }))
	bad.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake
	bad.StartTLS()
	defer bad.Close()
	c := newClient(t, client.Config{Servers: []string{bad.URL, serve(t, working(&count)).URL}})
	if err := c.CreateText(t.Context(), "a", wire.SecretWrite{Value: "v"}); err != nil || count.Load() != 1 {
		t.Errorf("%v, %d calls", err, count.Load())
	}
}

// TestServerThatAnsweredIsAskedFirst, until it fails.
func TestServerThatAnsweredIsAskedFirst(t *testing.T) {
	var a, b atomic.Int32
	var down atomic.Bool
	down.Store(true)
	answer := working(&a)
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if answer(w, r); down.Load() {
			panic(http.ErrAbortHandler)
		}
	})
	second := serve(t, working(&b))
	c := newClient(t, client.Config{Servers: []string{first.URL, second.URL}, SingleUse: true})
	for range 3 {
		if _, err := c.Get(t.Context(), "a", client.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if a.Load() != 1 || b.Load() != 3 {
		t.Errorf("%d and %d calls", a.Load(), b.Load())
	}
	down.Store(false)
	second.Close()
	if _, err := c.Get(t.Context(), "a", client.GetOptions{}); err != nil || a.Load() != 2 {
		t.Errorf("%v, %d calls", err, a.Load())
	}
}

// TestCallsAboutOneServerStayThere: a seal of another server would not be what was
// asked for.
func TestCallsAboutOneServerStayThere(t *testing.T) {
	var count atomic.Int32
	bad, good := serve(t, failing(t, "sealed")), serve(t, working(&count))
	c := newClient(t, client.Config{Servers: []string{bad.URL, good.URL}})
	if _, err := c.Get(t.Context(), "a", client.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	count.Store(0)
	for name, call := range map[string]func() error{
		"Seal":        func() error { _, err := c.Seal(t.Context()); return err },
		"Unseal":      func() error { _, err := c.Unseal(t.Context(), "00"); return err },
		"ResetUnseal": func() error { _, err := c.ResetUnseal(t.Context()); return err },
		"AutoUnseal":  func() error { _, err := c.AutoUnseal(t.Context(), ""); return err },
		"SealStatus":  func() error { _, err := c.SealStatus(t.Context()); return err },
		"Status":      func() error { _, err := c.Status(t.Context()); return err },
		"Init":        func() error { _, err := c.Init(t.Context(), wire.InitRequest{}); return err },
		"InitInfo":    func() error { _, err := c.InitInfo(t.Context()); return err },
		"StartRekey":  func() error { _, err := c.StartRekey(t.Context(), wire.RekeyRequest{}); return err },
		"VerifyRekey": func() error { _, err := c.VerifyRekey(t.Context(), "00", "00"); return err },
		"CancelRekey": func() error { return c.CancelRekey(t.Context(), "00") },
		"Rotate":      func() error { _, err := c.Rotate(t.Context()); return err },
		"Keys":        func() error { _, err := c.Keys(t.Context()); return err },
		"Ready":       func() error { return c.Ready(t.Context()) },
		"Ping":        func() error { return c.Ping(t.Context()) },
	} {
		if err := call(); !errors.Is(err, client.ErrSealed) || count.Load() != 0 {
			t.Errorf("%s: %v; the other server had %d calls", name, err, count.Load())
		}
	}
}

// TestAllServersThatFailAreNamed, and one that is sealed decides.
func TestAllServersThatFailAreNamed(t *testing.T) {
	sealed, away := serve(t, failing(t, "sealed")).URL, "http://127.0.0.1:1"
	c := newClient(t, client.Config{Servers: []string{sealed, away}})
	_, err := c.Get(t.Context(), "a", client.GetOptions{})
	if !errors.Is(err, client.ErrSealed) || client.Temporary(err) {
		t.Errorf("%v", err)
	}
	for _, server := range []string{sealed, away} {
		if !strings.Contains(err.Error(), server+": ") {
			t.Errorf("%v does not name %s", err, server)
		}
	}
	// One that could not be reached is still the error of a connection.
	c = newClient(t, client.Config{Servers: []string{away, away + "/other"}})
	err = c.CreateText(t.Context(), "a", wire.SecretWrite{Value: "v"})
	if _, ok := errors.AsType[*url.Error](err); !ok || errors.Is(err, client.ErrUnknown) || !client.Temporary(err) {
		t.Errorf("%v", err)
	}
}

// TestStreamsAndWatchesMoveOn.
func TestStreamsAndWatchesMoveOn(t *testing.T) {
	bad := serve(t, failing(t, "sealed"))
	good := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/watch/") {
			w.Header().Set("Content-Type", wire.TypeEvents)
			io.WriteString(w, "event: resync\ndata: {}\n\n")
			return
		}
		w.Header().Set("Content-Type", wire.TypeBinary)
		w.Header().Set("ETag", `"1"`)
		if r.URL.Query().Get(wire.WatchParam) == `"1"` {
			<-r.Context().Done()
		}
	})
	c := newClient(t, client.Config{Servers: []string{bad.URL, good.URL}})
	for change, err := range c.Changes(t.Context(), "", client.ChangesOptions{}) {
		if err != nil || !change.Resync {
			t.Errorf("%v, %v", change, err)
		}
		break
	}
	if s, err := c.Watch(t.Context(), "a", "", client.WatchOptions{}); err != nil || s.ETag != `"1"` {
		t.Errorf("%v, %v", s, err)
	}
	s, err := client.NewStore(t.Context(), newClient(t, client.Config{Servers: []string{bad.URL, good.URL}}), client.StoreConfig{Paths: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := s.Get("a"); err != nil || got.ETag != `"1"` || s.Away("a") != nil {
		t.Errorf("%v, %v, away: %v", got, err, s.Away("a"))
	}
}
