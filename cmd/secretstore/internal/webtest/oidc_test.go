package webtest

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/oauth2-proxy/mockoidc"
)

// provide has the next person who comes to m be uid, who signs in there at once.
func provide(m *mockoidc.MockOIDC, uid string) {
	m.QueueUser(&mockoidc.MockUser{Subject: uid, Email: uid, EmailVerified: true})
}

// runProvider runs an OpenID Connect provider.
func runProvider(t testing.TB) *mockoidc.MockOIDC {
	t.Helper()
	m, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Shutdown() })
	return m
}

// trust makes m a provider of the site, which browsers reach at base.
func (s *Site) trust(t testing.TB, id string, m *mockoidc.MockOIDC, base string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"description": "Corp & Co", "issuer": m.Issuer(), "base_url": base, "client_id": m.ClientID, "client_secret": m.ClientSecret})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+"/acs/api/v1/auth/oidc/providers/"+id, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"token=" + s.Token(t, "root")}}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatal(res.Status)
	}
}

// behindPrefix returns the address of a proxy that strips a prefix.
func (s *Site) behindPrefix(t testing.TB, prefix string) string {
	t.Helper()
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.StripPrefix(prefix, &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host }}))
	t.Cleanup(proxy.Close)
	return proxy.URL + prefix
}

// follower is a browser without Chromium that keeps cookies and follows redirects.
type follower struct {
	t testing.TB
	*http.Client
}

func newFollower(t testing.TB) follower {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: new(http.Transport)}
	t.Cleanup(c.CloseIdleConnections)
	return follower{t, c}
}

// open returns the page at an address, after all redirects.
func (f follower) open(address string) (*http.Response, string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	res, err := f.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return res, string(text)
}

// linked returns where the first link in a page leads that an expression finds.
func (f follower) linked(res *http.Response, page, expression string) string {
	f.t.Helper()
	found := regexp.MustCompile(expression).FindStringSubmatch(page)
	if found == nil {
		f.t.Fatalf("%s: no %s in the page: %s", res.Request.URL, expression, page)
	}
	at, err := res.Request.URL.Parse(html.UnescapeString(found[1]))
	if err != nil {
		f.t.Fatal(err)
	}
	return at.String()
}

// signInAtProvider begins at a page that leads to the sign-in, and returns the page
// to which the last one leads.
func (f follower) signInAtProvider(first, id string) (*http.Response, string) {
	f.t.Helper()
	res, page := f.open(first)
	res, page = f.open(f.linked(res, page, `href="([^"]*oidc-provider=`+id+`[^"]*)">Sign in with Corp &amp; Co<`))
	if res.StatusCode != http.StatusOK || !strings.Contains(page, "You have signed in.") {
		f.t.Fatalf("%s: %s: %s", res.Request.URL, res.Status, page)
	}
	var names []string
	for _, c := range res.Cookies() {
		names = append(names, c.Name)
		if c.Name == "secretstore-session" && (!c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/") {
			f.t.Errorf("the cookie: %s", c)
		}
	}
	if got := strings.Join(names, " "); got != "secretstore-oidc-state secretstore-session" {
		f.t.Errorf("the last answer sets %s", got)
	}
	if left := f.Jar.Cookies(res.Request.URL); len(left) != 1 {
		f.t.Errorf("the browser keeps %v", left)
	}
	// Without script, and without what a browser does by itself, there is a link.
	by := f.linked(res, page, `content="0; url=([^"]*)"`)
	if to := f.linked(res, page, `<a href="([^"]*)"`); to != by {
		f.t.Errorf("by itself to %s, by the link to %s", by, to)
	}
	return f.open(by)
}

// TestPeopleSignInToThePagesAtAProvider, also where a proxy strips a prefix.
func TestPeopleSignInToThePagesAtAProvider(t *testing.T) {
	site := Start(t, "--oidc-create-users")
	m := runProvider(t)
	prefixed := site.behindPrefix(t, "/service/secrets")
	site.trust(t, "direct", m, site.URL)
	site.trust(t, "prefixed", m, prefixed)
	for id, base := range map[string]string{"direct": site.URL, "prefixed": prefixed} {
		t.Run(id, func(t *testing.T) {
			uid := id + "@example.com" // an account is for one provider
			for first, last := range map[string]string{
				"": "", "secrets?folder=a%2Fb": "secrets?folder=a%2Fb", "sign-in?next=" + url.QueryEscape("secret?path=a/b"): "secret?path=a/b",
				"sign-in?next=%2F%2Fevil.example": "", "sign-in?next=https:evil.example": "", "sign-in?next=secret%3F" + strings.Repeat("x", 2000): "",
			} {
				provide(m, uid)
				res, page := newFollower(t).signInAtProvider(base+"/ui/"+first, id)
				if got := res.Request.URL.String(); got != base+"/ui/"+last || !strings.Contains(page, "<span>"+uid+"</span>") {
					t.Fatalf("%s leads to %s: %s", first, got, page)
				}
			}
			// Another browser cannot end a sign-in that it did not begin.
			res, page := newFollower(t).open(base + "/acs/api/v1/auth/oidc/callback?code=x&state=y")
			if res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) > 0 {
				t.Errorf("%s: %s", res.Status, page)
			}
		})
	}
}
