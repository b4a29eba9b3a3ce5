package api_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/api"
	"secretstore/api/internal/redirect"
	"secretstore/seal"
)

// strictEdge is a server in strict mode, of which the tests see the plain HTTP.
func strictEdge(t *testing.T, site redirect.Site) *edge {
	return newEdge(t, edgeOptions{mode: seal.ModeStrict, https: site})
}

// serve passes a request to the server as it comes from a peer, by HTTPS or not.
func (e *edge) serve(q *http.Request, peer string, secure bool) *httptest.ResponseRecorder {
	q.RemoteAddr = peer
	if secure {
		q.TLS = &tls.ConnectionState{HandshakeComplete: true}
	} else {
		q.TLS = nil
	}
	w := httptest.NewRecorder()
	e.server.ServeHTTP(w, q)
	return w
}

// TestStrictModeRedirectsEveryRequestOnPlainHTTP: none is served there, with or
// without a token, and nothing is changed or audited.
func TestStrictModeRedirectsEveryRequestOnPlainHTTP(t *testing.T) {
	e := strictEdge(t, redirect.Site{Port: 8443})
	_, err := e.store.Create(t.Context(), mustPath(t, "a"), seal.Change{Kind: seal.Text, Value: []byte("v")})
	must(t, err)
	host := strings.Split(e.addr, ":")[0]
	lines := len(e.auditLines())
	for _, row := range []struct{ method, path, want string }{
		{"GET", base + "/a", base + "/a"},
		{"HEAD", base + "/a", base + "/a"},
		{"GET", base + "/group%2Fa?x=%20&list=true", base + "/group%2Fa?x=%20&list=true"},
		{"GET", base + "//a/", base + "//a/"},
		{"PUT", base + "/new", base + "/new"},
		{"PATCH", base + "/a", base + "/a"},
		{"DELETE", base + "/a", base + "/a"},
		{"PUT", "/secrets/v1/seal/default", "/secrets/v1/seal/default"},
		{"GET", "/secrets/v1/ping", "/secrets/v1/ping"},
		{"GET", "/metrics", "/metrics"},
		{"GET", "/", "/"},
		{"GET", "/nosuch", "/nosuch"},
		{"GET", "//evil.example.com/", "//evil.example.com/"},
		{"OPTIONS", "/live", "/live"},
		{"BREW", "/ready", "/ready"},
	} {
		got := e.do(req{method: row.method, path: row.path, uid: "root", body: `{"value":"w"}`})
		if want := "https://" + host + ":8443" + row.want; got.status != 307 || got.header.Get("Location") != want {
			t.Errorf("%s %s: %d to %q, want %q", row.method, row.path, got.status, got.header.Get("Location"), want)
		}
	}
	if got := e.raw(1, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"); got[0].status != 307 || got[0].header.Get("Location") != "https://h:8443/" {
		t.Errorf("OPTIONS *: %+v", got)
	}
	if st := e.store.Status(); st.Sealed() {
		t.Error("a redirected request has sealed the store")
	}
	if got, err := e.store.Get(t.Context(), mustPath(t, "a"), 0); err != nil || string(got.Value) != "v" {
		t.Errorf("a redirected request has changed a secret: %q, %v", got.Value, err)
	}
	if got := len(e.auditLines()); got != lines {
		t.Errorf("%d audit lines for redirects", got-lines)
	}
	w := e.serve(httptest.NewRequest("GET", "/metrics", nil), "192.0.2.1:1", true)
	if !strings.Contains(w.Body.String(), `secretstore_requests_total{code="307",endpoint="redirect",route="redirect"}`) {
		t.Errorf("redirects are not counted:\n%s", w.Body)
	}
}

// TestRedirectsLeadOnlyToThisServer: a Host header that is not one, or that would
// write another header, is refused; with a public URL it does not matter.
func TestRedirectsLeadOnlyToThisServer(t *testing.T) {
	hosts := []string{"evil.example.com/x", "good@evil.example.com", "h:80:80", "h:99999", "h\\evil", "[::1", "h?x", "h#x", ""}
	e, public := strictEdge(t, redirect.Site{Port: 8443}), strictEdge(t, redirect.Site{Host: "secrets.example.com:444", Port: 8443})
	for _, host := range hosts {
		q := httptest.NewRequest("GET", base+"/a", nil)
		q.Host = host
		if w := e.serve(q, "192.0.2.1:1", false); w.Code != 400 || w.Header().Get("Location") != "" || strings.Contains(w.Body.String(), "evil") {
			t.Errorf("%q: %d, %q: %s", host, w.Code, w.Header().Get("Location"), w.Body)
		}
		if w := public.serve(q, "192.0.2.1:1", false); w.Code != 307 || w.Header().Get("Location") != "https://secrets.example.com:444"+base+"/a" {
			t.Errorf("%q, with a public URL: %d, %q", host, w.Code, w.Header().Get("Location"))
		}
	}
	// What net/http lets through as a header.
	for _, line := range []string{"Host: h\r\nX-Forwarded-Host: evil.example.com", "Host: h\r\nForwarded: host=evil.example.com"} {
		if got := e.raw(1, "GET /x HTTP/1.1\r\n"+line+"\r\n\r\n"); got[0].header.Get("Location") != "https://h:8443/x" {
			t.Errorf("%q: %+v", line, got)
		}
	}
}

// TestStrictModeAnswersProbesOfThisMachineOnPlainHTTP and of nobody else.
func TestStrictModeAnswersProbesOfThisMachineOnPlainHTTP(t *testing.T) {
	e := strictEdge(t, redirect.Site{Port: 8443})
	for _, row := range []struct {
		path, peer string
		secure     bool
		want       int
	}{
		{"/live", "127.0.0.1:5", false, 200},
		{"/ready", "127.8.9.1:5", false, 200},
		{"/ready/", "[::1]:5", false, 200},
		{"/live", "[::ffff:127.0.0.1]:5", false, 200},
		{"/live", "192.0.2.1:5", false, 307},
		{"/ready", "[2001:db8::1]:5", false, 307},
		{"/live", "", false, 307},
		{"/live", "localhost:5", false, 307},
		{"/metrics", "127.0.0.1:5", false, 307},
		{"/secrets/v1/ping", "127.0.0.1:5", false, 307},
		{"/live", "192.0.2.1:5", true, 200},
		{"/secrets/v1/ping", "192.0.2.1:5", true, 200},
	} {
		q := httptest.NewRequest("GET", row.path, nil)
		q.Header.Set("X-Forwarded-For", "127.0.0.1")
		if w := e.serve(q, row.peer, row.secure); w.Code != row.want {
			t.Errorf("%+v: %d %s", row, w.Code, w.Body)
		}
	}
	e.sealStore()
	if w := e.serve(httptest.NewRequest("GET", "/ready", nil), "127.0.0.1:5", false); w.Code != 503 {
		t.Errorf("/ready of a sealed server: %d", w.Code)
	}
}

// TestRootLeadsToHTTPS: GET / on plain HTTP leads to HTTPS where that is served.
func TestRootLeadsToHTTPS(t *testing.T) {
	site := redirect.Site{Port: 8443}
	for _, row := range []struct {
		mode   seal.Mode
		site   redirect.Site
		secure bool
		want   int
	}{
		{seal.ModeDisabled, redirect.Site{}, false, 404},
		{seal.ModePermissive, redirect.Site{}, false, 404},
		{seal.ModePermissive, site, false, 301},
		{seal.ModePermissive, site, true, 404},
		{seal.ModeStrict, site, false, 307},
		{seal.ModeStrict, site, true, 404},
	} {
		e := newEdge(t, edgeOptions{mode: row.mode, https: row.site, uninitialized: true})
		w := e.serve(httptest.NewRequest("GET", "http://h:1337/", nil), "192.0.2.1:1", row.secure)
		if w.Code != row.want || (row.want < 400) != (w.Header().Get("Location") == "https://h:8443/") {
			t.Errorf("%+v: %d, %q", row, w.Code, w.Header().Get("Location"))
		}
		if w := e.serve(httptest.NewRequest("GET", "/secrets/v1/ping", nil), "192.0.2.1:1", row.secure); (w.Code == 307) != (row.want == 307) || w.Code == 301 {
			t.Errorf("%+v: ping: %d", row, w.Code)
		}
	}
}

// TestSecurityModeIsShownAsInDCOS: under the permission of the Admin Router, sealed
// or not, and to superusers with the seal status.
func TestSecurityModeIsShownAsInDCOS(t *testing.T) {
	const path = "/dcos-metadata/bootstrap-config.json"
	for mode, site := range map[seal.Mode]redirect.Site{seal.ModeDisabled: {}, seal.ModePermissive: {}, seal.ModeStrict: {Port: 1}} {
		e := newEdge(t, edgeOptions{mode: mode, https: site})
		policy, err := acl.ParsePolicy([]byte(`users: {ui: {dcos:adminrouter:ops:metadata: [full]}, alice: {"dcos:secrets:*": [full], dcos:adminrouter:ops:metadata: [read]}}`))
		must(t, err)
		e.policy.Store(policy.WithSuperusers("root"))
		for range 2 {
			for uid, want := range map[string]int{"ui": 200, "root": 200, "alice": 403, "": 401} {
				q := httptest.NewRequest("GET", path, nil)
				if uid != "" {
					q.Header.Set("Authorization", "token="+tokenOf(t, uid, ""))
				}
				w := e.serve(q, "192.0.2.1:1", true)
				if w.Code != want {
					t.Errorf("%v, %s: %d %s", mode, uid, w.Code, w.Body)
				}
				if want == 200 && (w.Body.String() != `{"security":"`+mode.String()+`"}` || w.Header().Get("Content-Type") != "application/json") {
					t.Errorf("%v: %q %s", mode, w.Header(), w.Body)
				}
			}
			q := httptest.NewRequest("GET", "/secrets/v1/seal-status/default", nil)
			q.Header.Set("Authorization", "token="+tokenOf(t, "root", ""))
			if w := e.serve(q, "192.0.2.1:1", true); !strings.Contains(w.Body.String(), `"security_mode":"`+mode.String()+`"`) {
				t.Errorf("%v: %s", mode, w.Body)
			}
			e.sealStore()
		}
		outcomes := map[any]any{}
		for _, line := range e.auditLines() {
			if line["endpoint"] == "security-mode" && line["resource"] == "dcos:adminrouter:ops:metadata" && line["action"] == "full" {
				outcomes[line["uid"]] = line["outcome"]
			}
		}
		if outcomes["ui"] != "allowed" || outcomes["alice"] != "denied" {
			t.Errorf("%v: audited as %v", mode, outcomes)
		}
	}
}

// pagesForAll are pages that everybody may see.
type pagesForAll struct{}

func (pagesForAll) Serves(*http.Request) bool { return true }

func (pagesForAll) StartSession(*http.Request, string, string) (cookie, page string, err error) {
	return "", "", errors.New("no sessions")
}

func TestRootLeadsABrowserToThePages(t *testing.T) {
	e := newEdge(t, edgeOptions{pages: pagesForAll{}, uninitialized: true})
	for accept, want := range map[string]int{"text/html,*/*;q=0.8": 303, "*/*": 404} {
		got := e.do(req{method: "GET", path: "/", header: http.Header{"Accept": {accept}}})
		if to := got.header.Get("Location"); got.status != want || (to == "ui/") != (want == 303) {
			t.Errorf("%s: %d to %q", accept, got.status, to)
		}
	}
}

// TestServerThatMustNotUnsealSaysSo: the store remembers a higher mode than that of
// this server.
func TestServerThatMustNotUnsealSaysSo(t *testing.T) {
	strict := strictEdge(t, redirect.Site{Port: 8443})
	low := newEdge(t, edgeOptions{mode: seal.ModePermissive, storage: strict.backend.Backend, uninitialized: true})
	// The first server has not recorded its mode: nobody has chosen it.
	_, err := low.store.Unseal(t.Context(), []byte(strict.unseal))
	must(t, err)
	chosen, err := seal.Open(t.Context(), seal.Options{Backend: strict.backend.Backend, Mode: seal.ModeStrict, ModeChosen: true, Log: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() { must(t, chosen.Close()) })
	_, err = chosen.Unseal(t.Context(), []byte(strict.unseal))
	must(t, err)
	eventually(t, func() bool { return low.store.Status().Sealed() })
	const why = "the security mode of this server, permissive, is lower than strict"
	low.want(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "root"}, 200, `"sealed":true`, why, `"kind":"mode"`)
	if got := low.do(req{method: "GET", path: "/secrets/v1/seal-status/default", uid: "alice"}); strings.Contains(got.body, "strict") {
		t.Errorf("told to anybody: %s", got.body)
	}
	low.want(req{method: "PUT", path: "/secrets/v1/unseal/default", uid: "root", body: `{"key":"` + strict.unseal + `"}`}, 409, why, "--security-mode strict")
	low.want(req{method: "GET", path: base + "/a", uid: "alice"}, 503, "the secret store is sealed")
}

// TestAPINeedsASecurityMode: a server that was not told its mode, or is to be strict
// without HTTPS, is refused.
func TestAPINeedsASecurityMode(t *testing.T) {
	for mode, want := range map[seal.Mode]string{0: "no security mode", seal.ModeStrict: "no HTTPS"} {
		b := newEdge(t, edgeOptions{uninitialized: true}).backend
		st, err := seal.Open(t.Context(), seal.Options{Backend: b, Mode: mode, Log: zap.NewNop()})
		must(t, err)
		t.Cleanup(func() { must(t, st.Close()) })
		if _, err := api.New(api.Config{Store: st}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", mode, err)
		}
	}
}
