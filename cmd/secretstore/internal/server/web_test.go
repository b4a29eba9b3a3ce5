package server

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/web"
)

// TestPagesAreServedAsWebSays, on a loopback address and by TLS.
func TestPagesAreServedAsWebSays(t *testing.T) {
	for mode, want := range map[string]struct {
		root, pages int
		location    string
	}{
		"auto": {http.StatusSeeOther, http.StatusOK, "ui/"},
		"on":   {http.StatusSeeOther, http.StatusOK, "ui/"},
		"off":  {http.StatusNotFound, http.StatusUnauthorized, ""},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
			if err := fixture.Certificate(cert, key); err != nil {
				t.Fatal(err)
			}
			r := start(t, nil, "--web", mode, "--tls-listen", "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key)
			client := &http.Client{
				Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}
			do := func(method, address string, form url.Values) *http.Response {
				t.Helper()
				req, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Accept", "text/html")
				if form != nil {
					req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				}
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				return res
			}
			for i, address := range r.urls {
				status, to := want.root, want.location
				if i == 0 { // plain HTTP leads to HTTPS, with or without pages
					status, to = http.StatusMovedPermanently, r.urls[1]+"/"
				}
				res := do("GET", address+"/", nil)
				if res.StatusCode != status || res.Header.Get("Location") != to {
					t.Errorf("%s/: %s to %q", address, res.Status, res.Header.Get("Location"))
				}
				if res := do("GET", address+"/ui/sign-in", nil); res.StatusCode != want.pages {
					t.Errorf("%s/ui/sign-in: %s", address, res.Status)
				}
				raw, err := token.Sign("root", time.Time{}, "", []byte(fixture.Key))
				if err != nil {
					t.Fatal(err)
				}
				cookie := do("POST", address+"/ui/sign-in", url.Values{"token": {raw}}).Header.Get("Set-Cookie")
				if given := strings.HasPrefix(cookie, web.Cookie+"="); given != (mode != "off") {
					t.Errorf("%s: the cookie is %q", address, cookie)
				}
				if secure := strings.Contains(cookie, "; Secure"); secure != (i == 1 && mode != "off") {
					t.Errorf("%s: the cookie is %q", address, cookie)
				}
			}
		})
	}
}
