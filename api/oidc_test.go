package api_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"
	"golang.org/x/oauth2"

	"secretstore/iam"
	"secretstore/iam/authority"
	"secretstore/iam/oidc"
)

// withRecords is a fake IAM that also keeps providers.
type withRecords struct {
	*fakeIAM
	records map[string][]byte
}

func (w *withRecords) Records(prefix string) map[string][]byte {
	found := make(map[string][]byte)
	for name, data := range w.records {
		if strings.HasPrefix(name, prefix) {
			found[name] = data
		}
	}
	return found
}

func (w *withRecords) UpdateRecords(_ context.Context, prefix string, f func(map[string][]byte) ([]iam.Record, []string, error)) error {
	put, remove, err := f(w.Records(prefix))
	if err != nil {
		return err
	}
	for _, r := range put {
		w.records[r.Name] = r.Data
	}
	for _, name := range remove {
		delete(w.records, name)
	}
	return nil
}

// Attempt limits nobody, until signIn says so.
func (w *withRecords) Attempt(_ string, _ netip.Addr, try func() error, _ func(error) bool) error {
	if w.signIn != nil {
		return w.signIn
	}
	return try()
}

func TestSignInWithAnOpenIDConnectProvider(t *testing.T) {
	m, err := mockoidc.Run()
	must(t, err)
	t.Cleanup(func() { m.Shutdown() })
	d := newDirectoryWith(t, edgeOptions{providers: true})
	body := `{"description":"Corp","issuer":"` + m.Issuer() + `","base_url":"https://cluster.example","client_id":"` + m.ClientID + `","client_secret":"` + m.ClientSecret + `"}`
	d.call("PUT", "/auth/oidc/providers/corp", body, 201)
	d.call("PUT", "/auth/oidc/providers/corp", body, 409)
	d.call("PUT", "/auth/oidc/providers/Bad", body, 400, "ERR_OIDC_PROVIDER_CONFIG_INVALID")
	d.call("PATCH", "/auth/oidc/providers/corp", `{"client_secret":"********"}`, 204)
	d.as("alice", "GET", "/auth/oidc/providers/corp", "", 403)
	if got := d.call("GET", "/auth/oidc/providers/corp", "", 200, `"client_secret": "********"`); strings.Contains(got.body, m.ClientSecret) {
		t.Error("the client secret is shown")
	}
	d.call("GET", "/auth/oidc/providers", "", 200, `"corp": "Corp"`)
	d.want(req{method: "GET", path: iamBase + "/auth/providers"}, 200, "oidc-provider=corp&target=dcos:authenticationresponse:html", "browser-prompt-authtoken")
	d.want(req{method: "GET", path: iamBase + "/auth/login?oidc-provider=corp&target=//evil.example"}, 400, "the target must be")
	for _, target := range []string{"/ui", oidc.ShowToken} {
		start := d.want(req{method: "GET", path: iamBase + "/auth/login?oidc-provider=corp&target=" + url.QueryEscape(target)}, 303)
		state := start.header.Get("Set-Cookie")
		if !strings.Contains(state, "HttpOnly") || !strings.Contains(state, "SameSite=Lax") {
			t.Errorf("state: %s", state)
		}
		browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		at, err := browser.Get(start.header.Get("Location"))
		must(t, err)
		at.Body.Close()
		back, err := at.Location()
		must(t, err)
		path := back.RequestURI()
		d.want(req{method: "GET", path: path}, 401, "this browser did not begin")
		cookie, _, _ := strings.Cut(state, ";")
		if target == "/ui" {
			got := d.want(req{method: "GET", path: path, header: http.Header{"Cookie": {cookie}}}, 303)
			if got.header.Get("Location") != "/ui" || len(got.header["Set-Cookie"]) != 3 {
				t.Errorf("%+v", got)
			}
			continue
		}
		got := d.want(req{method: "GET", path: path, header: http.Header{"Cookie": {cookie}}}, 200, "<pre>eyJ")
		if len(got.header["Set-Cookie"]) != 1 || got.header.Get("Cache-Control") != "no-cache, no-store, must-revalidate" || !strings.HasPrefix(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%+v", got.header)
		}
	}
	d.want(req{method: "POST", path: iamBase + "/auth/login", header: asJSON, body: `{"token":"x"}`}, 401, "OpenID Connect ID Token login failed: bad token")
	d.iam.signIn = &authority.TooMany{RetryAfter: time.Second}
	got := d.want(req{method: "POST", path: iamBase + "/auth/login", header: asJSON, body: `{"token":"x"}`}, 429, "too many failed sign-ins")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	d.iam.signIn = nil
	m.Shutdown()
	d.call("DELETE", "/auth/oidc/providers/corp", "", 204)
	d.call("GET", "/auth/oidc/providers/corp", "", 400, "not known")
}

func TestBrowserIsSentHomeIfItsProviderIsUnknown(t *testing.T) {
	d := newDirectoryWith(t, edgeOptions{providers: true})
	start := iamBase + "/auth/login?oidc-provider="
	for _, accept := range []string{"text/html", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"} {
		for id, text := range map[string]string{"gone": "provider with id `gone` not known.", "../%0d%0aX:": "provider with id `…` not known."} {
			got := d.want(req{method: "GET", path: start + id, header: http.Header{"Accept": {accept}}}, 303)
			at, err := url.Parse(got.header.Get("Location"))
			if err != nil || at.Host != "" || at.Path != "/" || at.Query().Get("iam-error") != "Invalid OIDC provider: "+text {
				t.Errorf("%s: %v, %v", id, at, err)
			}
			if got.header["Set-Cookie"] != nil {
				t.Errorf("cookies: %v", got.header["Set-Cookie"])
			}
		}
	}
	d.want(req{method: "GET", path: start + "gone"}, 400, "ERR_OIDC_PROVIDER_CONFIG_INVALID")
	d.want(req{method: "GET", path: start + "gone", header: http.Header{"Accept": {"text/css"}}}, 406)
	d.want(req{method: "GET", path: iamBase + "/auth/providers", header: http.Header{"Accept": {"text/html"}}}, 406)
}

func TestLocalAccountsSignInWhileAProviderIsDown(t *testing.T) {
	m, err := mockoidc.Run()
	must(t, err)
	d := newDirectoryWith(t, edgeOptions{providers: true})
	d.person("alice")
	d.call("PUT", "/auth/oidc/providers/corp", `{"description":"Corp","issuer":"`+m.Issuer()+`","base_url":"https://cluster.example","client_id":"me","client_secret":"s"}`, 201)
	claims := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"iss":%q,"sub":"1","aud":"me","exp":%d,"email":"a@example.com"}`, m.Issuer(), time.Now().Add(time.Hour).Unix())))
	must(t, m.Shutdown())
	const text = "the OpenID Connect provider `corp` is not available: try again later, or sign in with a local account"
	for _, accept := range []string{"", "text/html,*/*;q=0.8"} {
		got := d.want(req{method: "GET", path: iamBase + "/auth/login?oidc-provider=corp", header: http.Header{"Accept": {accept}}}, 503, text)
		if got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + claims + ".c2ln"
	d.want(req{method: "POST", path: iamBase + "/auth/login", header: asJSON, body: `{"token":"` + token + `"}`}, 503, text)
	d.want(req{method: "POST", path: iamBase + "/auth/login", header: asJSON, body: `{"uid":"alice","password":"password of alice"}`}, 200, "eyJ")
}

func TestProgramExchangesTheCodeOfABrowserForAToken(t *testing.T) {
	m, err := mockoidc.Run()
	must(t, err)
	t.Cleanup(func() { m.Shutdown() })
	d := newDirectoryWith(t, edgeOptions{providers: true})
	d.call("PUT", "/auth/oidc/providers/corp", `{"description":"Corp","issuer":"`+m.Issuer()+`","base_url":"https://cluster.example","client_id":"`+m.ClientID+`","client_secret":"`+m.ClientSecret+`"}`, 201)
	d.want(req{method: "GET", path: iamBase + "/auth/providers"}, 200, `"loopback_flow_url": "/acs/api/v1/auth/login?oidc-provider=corp"`)
	verifier := oauth2.GenerateVerifier()
	begin := iamBase + "/auth/login?oidc-provider=corp&target=" + url.QueryEscape("http://127.0.0.1:8000/x")
	d.want(req{method: "GET", path: begin}, 400, "the target must be")
	d.want(req{method: "GET", path: begin + "&code_challenge=x"}, 400, "the target must be")
	challenge := "&code_challenge=" + oauth2.S256ChallengeFromVerifier(verifier)
	d.want(req{method: "GET", path: begin + challenge + challenge}, 400, "the target must be")
	start := d.want(req{method: "GET", path: begin + challenge}, 303)
	cookie, _, _ := strings.Cut(start.header.Get("Set-Cookie"), ";")
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	at, err := browser.Get(start.header.Get("Location"))
	must(t, err)
	at.Body.Close()
	back, err := at.Location()
	must(t, err)
	got := d.want(req{method: "GET", path: back.RequestURI(), header: http.Header{"Cookie": {cookie}}}, 200, "wants to sign in as <b>jane.doe@example.com</b>")
	if strings.Contains(got.body, "eyJ") || len(got.header["Set-Cookie"]) != 1 || !strings.HasPrefix(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%+v", got)
	}
	_, code, ok := strings.Cut(got.body, `href="http://127.0.0.1:8000/x?code=`)
	if code, _, _ = strings.Cut(code, `"`); !ok {
		t.Fatal(got.body)
	}
	exchange := func(code, verifier string, status int, words ...string) res {
		return d.want(req{method: "POST", path: iamBase + "/auth/oidc/exchange", header: asJSON, body: fmt.Sprintf(`{"code":%q,"code_verifier":%q}`, code, verifier)}, status, words...)
	}
	exchange(code, oauth2.GenerateVerifier(), 401, "the code of the sign-in is invalid")
	exchange("", "", 401)
	if got := exchange(code, verifier, 200, `"token": "eyJ`); got.header["Set-Cookie"] != nil {
		t.Errorf("cookies: %v", got.header["Set-Cookie"])
	}
	if line := d.lineOf("iam.sign-in.exchange"); line["uid"] != "jane.doe@example.com" || line["outcome"] != "allowed" {
		t.Errorf("%v", line)
	}
	exchange(code, verifier, 401, "was used")
	for _, text := range d.auditLines() {
		if line := fmt.Sprint(text); strings.Contains(line, code) || strings.Contains(line, verifier) {
			t.Errorf("audited: %s", line)
		}
	}
	d.want(req{method: "GET", path: iamBase + "/auth/oidc/exchange", uid: "root"}, 405)
	d.want(req{method: "POST", path: iamBase + "/auth/oidc/exchange", header: asJSON, body: `{"code":"x"}`}, 400, "'code_verifier' is a required property")
}
