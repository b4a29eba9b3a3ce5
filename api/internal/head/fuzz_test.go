package head

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"secretstore/acl"
	"secretstore/api/internal/problem"
	"secretstore/seal"
)

// FuzzEntityTags: what the parser takes means the same when it is written out
// plainly, and an ETag of ours is found wherever it is listed.
func FuzzEntityTags(f *testing.F) {
	for _, seed := range []string{`*`, `"a"`, `W/"a"`, `"a", W/"b,c" ,,"d"`, `,"a"`, `"a`, `a`, `""`, `"a""b"`, `*,"a"`, ``, " \t*", "\"\xff\""} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		l, err := parseTags([]string{first, second})
		if err != nil {
			if problem.Of(err).Text != textBadTags {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !l.given || l.any == (len(l.tags) > 0) {
			t.Fatalf("%q, %q read as %+v", first, second, l)
		}
		var plainly []string
		for _, tag := range l.tags {
			text := ETag(tag.opaque)
			if tag.weak {
				text = "W/" + text
			}
			plainly = append(plainly, text)
			if !l.weak(tag.opaque) || !tag.weak && !l.strong(tag.opaque) {
				t.Fatalf("%+v is not found in %+v", tag, l)
			}
		}
		if l.any {
			return
		}
		again, err := parseTags([]string{strings.Join(plainly, ", ")})
		if err != nil || !slices.Equal(again.tags, l.tags) {
			t.Fatalf("%q, %q read as %+v, written plainly as %+v (%v)", first, second, l, again, err)
		}
	})
}

// FuzzQuery: on a query that net/url takes whole, the two agree about what was
// asked; a service that net/url sees is never overlooked.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"list=true", "list=true&limit=10&after=a%2Fb", "service=%2Fa&_ts=1", "%73ervice=/x", "a;service=/x", "service", "limit=0", "_ts=%zz&list=true", "&&=&list",
		"list=True", "list", "version=3", "version=1&version=2", "versions=true&purge=true", "%76ersion=x", "a;purge=true", "search=a%2FB&limit=2", "search", "search=%ff&search=x", "a;search=x", "search=x&details=true", "details=true&details=false", "a;details=true", "children=true&search=" + strings.Repeat("x", 1025),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := ParseQuery(raw)
		values, bad := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if q.Paging != nil {
			values.Del("after")
		}
		if q.Service.Times != len(values["service"]) && bad == nil {
			t.Fatalf("%q: %d services, net/url sees %q", raw, q.Service.Times, values["service"])
		}
		if q.Service.Times < len(values["service"]) {
			t.Fatalf("%q: a service was overlooked", raw)
		}
		if bad == nil && ((q.Forms&FormList != 0) != slices.Contains(values["list"], "true") || q.After != values.Get("after")) {
			t.Fatalf("%q: %+v, net/url sees %v", raw, q, values)
		}
		if n, err := q.Version(); err == nil && (n == 0 || bad == nil && len(values["version"]) != 1) {
			t.Fatalf("%q: version %d", raw, n)
		}
		if bad == nil && (q.Forms&FormPurge != 0) != slices.Contains(values["purge"], "true") {
			t.Fatalf("%q: purge is %v", raw, values["purge"])
		}
		odd := slices.ContainsFunc(values["list"], func(v string) bool { return v != "true" && v != "false" || v != values["list"][0] })
		if bad == nil && odd != (q.CheckBoolean(FormList) != nil) {
			t.Fatalf("%q: list is %q", raw, values["list"])
		}
		if bad == nil && (q.Forms&FormSearch != 0) != (len(values["search"]) > 0) {
			t.Fatalf("%q: search is %q", raw, values["search"])
		}
		if text, err := q.SearchText(); err == nil && (len(text) > acl.MaxPathBytes || bad == nil && (len(values["search"]) != 1 || values.Get("search") != text)) {
			t.Fatalf("%q: the text %q, net/url sees %q", raw, text, values["search"])
		}
		if on, err := q.Details(); bad == nil && on != (err == nil && slices.Equal(values["details"], []string{"true"})) {
			t.Fatalf("%q: details are %v, net/url sees %q", raw, on, values["details"])
		}
		if q.Limit < 0 || q.Limit > 10000 {
			t.Fatalf("%q: limit %d", raw, q.Limit)
		}
	})
}

// FuzzHead: no header makes the functions panic, and a token that they find is
// in the header.
func FuzzHead(f *testing.F) {
	f.Add("token=a.b.c", "dcos-acs-auth-cookie=x", "*/*;q=0.5, application/json", "1.2.3.4, 5.6.7.8", "application/json; charset=utf-8", "/a")
	f.Add("Bearer  x", "a=b; dcos-acs-auth-cookie=\"x\"", "application/*;q=x;;", "[::1]:1,", ";", "a.b")
	trusted := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	f.Fuzz(func(t *testing.T, authorization, cookie, accept, forwarded, content, service string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = http.Header{"Authorization": {authorization}, "Accept": {accept}, "X-Forwarded-For": {forwarded}, "Content-Type": {content}, "X-Service-Id": {service}}
		if raw, err := Token(r); err == nil && (raw == "" || !strings.HasSuffix(authorization, raw)) {
			t.Fatalf("%q holds the token %q", authorization, raw)
		}
		r.Header.Del("Authorization")
		r.Header.Set("Cookie", cookie)
		if raw, err := Token(r); err == nil && (raw == "" || !strings.Contains(cookie, raw)) {
			t.Fatalf("%q holds the token %q", cookie, raw)
		}
		for _, kind := range []seal.Kind{seal.Text, seal.Binary} {
			form, err := Negotiate(kind, r.Header)
			if err == nil && form != "application/octet-stream" && (form != "application/json" || kind == seal.Binary) {
				t.Fatalf("Accept %q gives %q", accept, form)
			}
		}
		if _, err := netip.ParseAddr(RemoteAddress(r, trusted)); err != nil {
			t.Fatalf("%q gives no address: %v", forwarded, err)
		}
		ContentType(r.Header)
		if svc, has, err := Service(r.Header, Query{}); err == nil && (!has || svc.String() != "/"+strings.Trim(svc.String(), "/") && !svc.IsRoot()) {
			t.Fatalf("service %q: %v %v", service, svc, has)
		}
	})
}
