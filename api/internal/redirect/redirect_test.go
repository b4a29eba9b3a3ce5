package redirect

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestOriginOfTheSite(t *testing.T) {
	for _, row := range []struct {
		site         Site
		header, want string
	}{
		{Site{Port: 8443}, "master.mesos", "https://master.mesos:8443"},
		{Site{Port: 8443}, "master.mesos:1337", "https://master.mesos:8443"},
		{Site{Port: 443}, "master.mesos:1337", "https://master.mesos"},
		{Site{Port: 8443}, "[::1]:1337", "https://[::1]:8443"},
		{Site{Host: "secrets.example.com", Port: 8443}, "evil.example.com", "https://secrets.example.com"},
		{Site{Host: "secrets.example.com:444", Port: 8443}, "\r\n", "https://secrets.example.com:444"},
		{Site{Port: 8443}, "", ""},
		{Site{Port: 8443}, "good.example.com@evil.example.com", ""},
		{Site{Port: 8443}, "evil.example.com/x", ""},
		{Site{Port: 8443}, "a\r\nLocation: http://evil.example.com", ""},
	} {
		if got, err := row.site.Origin(row.header); got != row.want || (err != nil) != (row.want == "") {
			t.Errorf("%+v, %q: %q, %v", row.site, row.header, got, err)
		}
	}
}

// FuzzTarget: whatever a request asks for, its redirect leads to the origin, and is
// one line of a header.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"/secrets/v1/secret/default/a%2Fb?x=%20y", "//evil.example.com/x", "http://evil.example.com/x", "*", "/a?\xff", "/@evil", "http:evil", "/\\evil", "?x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + asked + " HTTP/1.1\r\nHost: h\r\n\r\n")))
		if err != nil {
			return
		}
		target := Target(r)
		u, err := url.Parse("https://secrets.example.com:8443" + target)
		if err != nil || u.Host != "secrets.example.com:8443" || u.User != nil || !strings.HasPrefix(target, "/") {
			t.Fatalf("%q leads to %q (%v)", asked, target, err)
		}
		if strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c > '~' }) {
			t.Fatalf("%q leads to %q", asked, target)
		}
		if strings.HasPrefix(r.URL.Path, "/") && (u.Path != r.URL.Path || u.EscapedPath() != r.URL.EscapedPath()) {
			t.Fatalf("%q leads to the path %q", asked, u.EscapedPath())
		}
	})
}
