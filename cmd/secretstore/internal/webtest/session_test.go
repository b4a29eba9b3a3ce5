package webtest

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"secretstore/api/wire"
)

// browse is a browser without Chromium: it follows nothing and keeps no cookies.
type browse struct {
	t   testing.TB
	url string
}

func (b browse) do(method, path, cookie string, form url.Values, header ...string) (*http.Response, string) {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, string(text)
}

// cookieOf returns the cookie of the session that an answer sets.
func cookieOf(res *http.Response) string {
	for _, c := range res.Cookies() {
		if c.Name == "secretstore-session" && c.MaxAge >= 0 {
			return c.Name + "=" + c.Value
		}
	}
	return ""
}

var formToken = regexp.MustCompile(`name="form-token" value="([^"]+)"`)

// signIn returns the cookie and the form token of a new session.
func (b browse) signIn(token string, header ...string) (cookie, form string) {
	b.t.Helper()
	res, _ := b.do("POST", "/ui/sign-in", "", url.Values{"token": {token}}, header...)
	cookie = cookieOf(res)
	if res.StatusCode != http.StatusSeeOther || cookie == "" {
		b.t.Fatalf("%s, %v", res.Status, res.Header)
	}
	_, page := b.do("GET", "/ui/", cookie, nil)
	found := formToken.FindStringSubmatch(page)
	if found == nil {
		b.t.Fatalf("no form in the page: %s", page)
	}
	return cookie, found[1]
}

// isOut reports whether a cookie is of no use.
func (b browse) isOut(cookie string) bool {
	res, _ := b.do("GET", "/ui/", cookie, nil)
	return res.StatusCode == http.StatusSeeOther && res.Header.Get("Location") == "sign-in"
}

// TestSessionsOfAServer has the properties of sessions that need no browser.
func TestSessionsOfAServer(t *testing.T) {
	site := Start(t, "--trusted-proxies", "127.0.0.1")
	b := browse{t, site.URL}

	t.Run("the cookie is for this site alone", func(t *testing.T) {
		b := browse{t, site.URL}
		res, _ := b.do("POST", "/ui/sign-in", "", url.Values{"token": {site.Token(t, "root")}})
		got := res.Header.Get("Set-Cookie")
		for _, attribute := range []string{"; Path=/", "; HttpOnly", "; SameSite=Strict"} {
			if !strings.Contains(got, attribute) {
				t.Errorf("%s is missing: %s", attribute, got)
			}
		}
		if strings.Contains(got, "Secure") || strings.Contains(got, site.Token(t, "root")) {
			t.Errorf("by plain HTTP: %s", got)
		}
		res, _ = b.do("POST", "/ui/sign-in", "", url.Values{"token": {site.Token(t, "root")}}, "X-Forwarded-Proto", "https")
		if got := res.Header.Get("Set-Cookie"); !strings.Contains(got, "; Secure") {
			t.Errorf("behind a proxy that ends TLS: %s", got)
		}
	})
	t.Run("a planted session is not used", func(t *testing.T) {
		b := browse{t, site.URL}
		planted, _ := b.signIn(site.Token(t, "mallory"))
		res, _ := b.do("POST", "/ui/sign-in", planted, url.Values{"token": {site.Token(t, "root")}})
		mine := cookieOf(res)
		if mine == "" || mine == planted {
			t.Fatalf("%s: %q", res.Status, mine)
		}
		if _, page := b.do("GET", "/ui/", planted, nil); !strings.Contains(page, ">mallory<") {
			t.Error("the planted cookie is somebody else now")
		}
		// Two cookies of the name are not a session: one of them was planted.
		if !b.isOut(planted + "; " + mine) {
			t.Error("one of two cookies is used")
		}
	})
	t.Run("a cookie that was changed is none", func(t *testing.T) {
		b := browse{t, site.URL}
		cookie, _ := b.signIn(site.Token(t, "root"))
		for _, bad := range []string{cookie[:len(cookie)-2], cookie + "AA", strings.Replace(cookie, "=AAAAA", "=AAAAB", 1), "secretstore-session=", "secretstore-session=AAAA"} {
			if !b.isOut(bad) {
				t.Errorf("%q is a session", bad)
			}
		}
	})
	t.Run("a session ends with the tokens of its account", func(t *testing.T) {
		b := browse{t, site.URL}
		root := site.As(t, "root").Identities()
		if err := root.CreateUser(t.Context(), "alice", wire.UserCreate{Password: wire.Password("a long password")}); err != nil {
			t.Fatal(err)
		}
		res, _ := b.do("POST", "/ui/sign-in", "", url.Values{"uid": {"alice"}, "password": {"a long password"}})
		cookie := cookieOf(res)
		if cookie == "" || b.isOut(cookie) {
			t.Fatalf("alice cannot sign in: %s", res.Status)
		}
		if err := root.RevokeTokens(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if !b.isOut(cookie) {
			t.Error("the session outlives the tokens")
		}
	})
	t.Run("the bar is not a use of the session", func(t *testing.T) {
		b := browse{t, site.URL}
		cookie, _ := b.signIn(site.Token(t, "root"))
		for path, want := range map[string]bool{"/ui/bar": false, "/ui/": true} {
			if res, _ := b.do("GET", path, cookie, nil); res.StatusCode != http.StatusOK || (cookieOf(res) != "") != want {
				t.Errorf("%s renews the session: %t", path, !want)
			}
		}
	})
	t.Run("other sites and other forms change nothing", func(t *testing.T) {
		b := browse{t, site.URL}
		cookie, form := b.signIn(site.Token(t, "root"))
		good := url.Values{"form-token": {form}}
		for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
			if res, _ := b.do("POST", "/ui/sign-out", cookie, good, header...); res.StatusCode != http.StatusForbidden {
				t.Errorf("%v: %s", header, res.Status)
			}
			if res, _ := b.do("POST", "/ui/sign-in", "", url.Values{"token": {site.Token(t, "root")}}, header...); res.StatusCode != http.StatusForbidden || cookieOf(res) != "" {
				t.Errorf("a sign-in, %v: %s", header, res.Status)
			}
		}
		_, other := b.signIn(site.Token(t, "root"))
		for _, bad := range []url.Values{{}, {"form-token": {""}}, {"form-token": {other}}, {"form-token": {form, form}}} {
			if res, _ := b.do("POST", "/ui/sign-out", cookie, bad); res.StatusCode != http.StatusForbidden {
				t.Errorf("%v: %s", bad, res.Status)
			}
		}
		if b.isOut(cookie) {
			t.Error("the session has ended")
		}
	})
	t.Run("pages are kept nowhere and framed nowhere", func(t *testing.T) {
		b := browse{t, site.URL}
		cookie, _ := b.signIn(site.Token(t, "root"))
		for _, path := range []string{"/ui", "/ui/", "/ui/sign-in", "/ui/keys", "/ui/nothing", "/ui/bar"} {
			res, _ := b.do("GET", path, cookie, nil)
			csp := res.Header.Get("Content-Security-Policy")
			if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" ||
				!strings.HasPrefix(csp, "default-src 'none';") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: %v", path, res.Header)
			}
			if got := res.Header.Get("Cross-Origin-Opener-Policy"); got != "same-origin" && path != "/ui" {
				t.Errorf("%s: a window of another site keeps its hold on the page", path)
			}
		}
	})
	t.Run("the cookie of the cluster is a sign-in", func(t *testing.T) {
		b := browse{t, site.URL}
		cluster := wire.TokenCookie + "=" + site.Token(t, "root")
		res, page := b.do("GET", "/ui/", cluster, nil)
		cookie := cookieOf(res)
		if res.StatusCode != http.StatusOK || cookie == "" {
			t.Fatalf("%s: %s", res.Status, page)
		}
		form := formToken.FindStringSubmatch(page)[1]
		if res, _ := b.do("POST", "/ui/sign-out", cluster, url.Values{"form-token": {form}}); strings.Contains(strings.Join(res.Header["Set-Cookie"], ";"), "secretstore-session=A") {
			t.Error("a change makes a session of the cookie")
		}
		res, _ = b.do("POST", "/ui/sign-out", cluster+"; "+cookie, url.Values{"form-token": {form}})
		if all := strings.Join(res.Header["Set-Cookie"], "\n"); !strings.Contains(all, wire.TokenCookie+"=; Path=/; Max-Age=0") || !strings.Contains(res.Header.Get("Location"), "done=") {
			t.Errorf("%s: %v", res.Status, res.Header)
		}
		if _, page := b.do("GET", "/ui/"+res.Header.Get("Location"), "", nil); !strings.Contains(page, "lives on") {
			t.Errorf("nothing says that the token lives on: %s", page)
		}
		// After the end of a session, the cookie is only used if somebody says so.
		if !b.isOut(cluster + "; " + cookie) {
			t.Error("the cookie of the cluster brings an ended session back")
		}
		if _, page := b.do("GET", "/ui/sign-in", cluster+"; "+cookie, nil); !strings.Contains(page, "Continue as root") {
			t.Error("the sign-in does not offer it")
		}
	})
	t.Run("the token of another user is refused", func(t *testing.T) {
		b := browse{t, site.URL}
		for _, bad := range []string{"x", site.Token(t, "root") + "x", strings.Repeat("a", 5000)} {
			if res, page := b.do("POST", "/ui/sign-in", "", url.Values{"token": {bad}}); res.StatusCode/100 != 4 || cookieOf(res) != "" || strings.Contains(page, bad+"<") {
				t.Errorf("%s", res.Status)
			}
		}
	})
	t.Run("a prefix that a proxy strips does not matter", func(t *testing.T) {
		b := browse{t, site.behindPrefix(t, "/service/secrets")}
		res, _ := b.do("GET", "/", "", nil, "Accept", "text/html")
		if got := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || got != "ui/" {
			t.Errorf("/: %s to %s", res.Status, got)
		}
		cookie, _ := b.signIn(site.Token(t, "root"))
		absolute := regexp.MustCompile(`(href|src|action)="/|url=/`)
		for _, path := range []string{"/ui/", "/ui/sign-in", "/ui/keys", "/ui/access", "/ui/nothing"} {
			res, page := b.do("GET", path, cookie, nil)
			if strings.HasPrefix(res.Header.Get("Location"), "/") || absolute.MatchString(page) {
				t.Errorf("%s: %s, %s", path, res.Header.Get("Location"), absolute.FindString(page))
			}
		}
	})

	// Last, for it ends the server: the end of a session outlives the process.
	cookie, form := b.signIn(site.Token(t, "root"))
	kept, _ := b.signIn(site.Token(t, "root"))
	if res, page := b.do("POST", "/ui/sign-out", cookie, url.Values{"form-token": {form}}); res.StatusCode != http.StatusSeeOther || !b.isOut(cookie) || b.isOut(kept) {
		t.Fatalf("%s: %s", res.Status, page)
	}
	site.Stop()
	again := StartIn(t, site.Dir, "--iam", "none")
	b = browse{t, again.URL}
	if !b.isOut(cookie) {
		t.Error("a session that was ended is good again after a restart")
	}
	if b.isOut(kept) {
		t.Error("a session that goes on does not outlive the process, as it would not be known to another server")
	}
}

// TestSignOutWhileSealedSaysThatItIsNotRecorded: after an unseal, a copy of the cookie is
// good again. All other pages lead to the sign-in, and so does a sign-out without a cookie.
func TestSignOutWhileSealedSaysThatItIsNotRecorded(t *testing.T) {
	site := Start(t)
	b := browse{t, site.URL}
	cookie, form := b.signIn(site.Token(t, "root"))
	if _, err := site.As(t, "root").Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.isOut(cookie) {
		t.Error("a session of the store is good while that is sealed")
	}
	res, page := b.do("POST", "/ui/sign-out", cookie, url.Values{"form-token": {form}})
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(page, "could not record") || !strings.Contains(res.Header.Get("Set-Cookie"), "secretstore-session=; Path=/; Max-Age=0") {
		t.Errorf("%s, %v: %s", res.Status, res.Header, page)
	}
	if res, _ := b.do("POST", "/ui/sign-out", "", url.Values{"form-token": {form}}); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "sign-out" {
		t.Errorf("without a cookie: %s, %v", res.Status, res.Header)
	}
}

func TestStoreIsUnsealedOnAPage(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	if _, err := root.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := browse{t, site.URL}
	res, _ := b.do("POST", "/ui/sign-in", "", url.Values{"uid": {Admin}, "password": {Password}})
	cookie := cookieOf(res)
	if cookie == "" {
		t.Fatalf("while sealed, the superuser of the file cannot sign in: %s", res.Status)
	}
	_, page := b.do("GET", "/ui/unseal", cookie, nil)
	if !strings.Contains(page, "0 of 1 shares") || !strings.Contains(page, "gpg --decrypt") {
		t.Fatalf("the page: %s", page)
	}
	form := formToken.FindStringSubmatch(page)[1]
	const wrong = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	if res, page := b.do("POST", "/ui/unseal", cookie, url.Values{"form-token": {form}, "do": {"share"}, "share": {wrong}}); res.StatusCode/100 != 4 || strings.Contains(page, wrong) {
		t.Errorf("a wrong share: %s", res.Status)
	}
	res, _ = b.do("POST", "/ui/unseal", cookie, url.Values{"form-token": {form}, "do": {"auto"}})
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("with the bootstrap key: %s", res.Status)
	}
	awaitReady(t, root)
	// A sign-in while sealed is only for the unseal.
	if !b.isOut(cookie) {
		t.Error("the session goes on after the unseal")
	}
}
