package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"secretstore/acl"
	"secretstore/seal"
)

// constantTexts are all that parseSecret may say: nothing of the input.
func constantTexts() []string {
	return []string{textBadJSON, textNoValue, textBadDesc, textBadLabel, textComplex}
}

// FuzzBody: what the parser takes is what a strict reading of JSON means, and
// writing it gives a document with the same value; what it refuses it refuses
// in constant words.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"value":"v"}`, `{"value":"\u00e4\ud83d\ude00\n","labels":["a"],"description":"d"}`, `{"value":"\ud800"}`, "{\"value\":\"\xff\"}",
		`{"value":"a","value":"b"}`, `{"x":{"y":[1,2,{"z":null}]},"value":""}`, `{"value":"v"} x`, `[`, ``, `{"Value":"v"}`, `{"value":1}`,
		`{"value":"v","labels":null,"description":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		change, err := parseSecret(bytes.Clone(body))
		if err != nil {
			var p *problem
			if !errors.As(err, &p) || p.status != http.StatusBadRequest || !slices.Contains(constantTexts(), p.text) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !utf8.Valid(change.Value) || !utf8.Valid(body) || !json.Valid(body) {
			t.Fatalf("took %q as %q", body, change.Value)
		}
		// encoding/json is lax, but on what both take they agree.
		var lax map[string]any
		if err := json.Unmarshal(body, &lax); err != nil || lax["value"] != string(change.Value) {
			t.Fatalf("took %q as %q, encoding/json as %q (%v)", body, change.Value, lax["value"], err)
		}
		s := seal.Secret{Kind: seal.Text, Value: change.Value}
		if change.Labels != nil {
			s.Labels = *change.Labels
		}
		if change.Description != nil {
			s.Description = *change.Description
		}
		out, err := appendSecret(nil, &s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseSecret(out)
		if err != nil || !bytes.Equal(again.Value, change.Value) {
			t.Fatalf("%q was written as %q and read as %q (%v)", body, out, again.Value, err)
		}
	})
}

// FuzzEntityTags: what the parser takes means the same when it is written out
// plainly, and an ETag of ours is found wherever it is listed.
func FuzzEntityTags(f *testing.F) {
	for _, seed := range []string{`*`, `"a"`, `W/"a"`, `"a", W/"b,c" ,,"d"`, `,"a"`, `"a`, `a`, `""`, `"a""b"`, `*,"a"`, ``, " \t*", "\"\xff\""} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		l, err := parseTags([]string{first, second})
		if err != nil {
			var p *problem
			if !errors.As(err, &p) || p.text != textBadTags {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !l.given || l.any == (len(l.tags) > 0) {
			t.Fatalf("%q, %q read as %+v", first, second, l)
		}
		var plainly []string
		for _, tag := range l.tags {
			text := etagOf(tag.opaque)
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
		"version=3", "version=1&version=2", "versions=true&purge=true", "%76ersion=x", "a;purge=true",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw)
		values, bad := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if q.services != len(values["service"]) && bad == nil {
			t.Fatalf("%q: %d services, net/url sees %q", raw, q.services, values["service"])
		}
		if q.services < len(values["service"]) {
			t.Fatalf("%q: a service was overlooked", raw)
		}
		if bad == nil && ((q.forms&formList != 0) != slices.Contains(values["list"], "true") || q.after != values.Get("after")) {
			t.Fatalf("%q: %+v, net/url sees %v", raw, q, values)
		}
		if n, err := q.versionNumber(); err == nil && (n == 0 || bad == nil && len(values["version"]) != 1) {
			t.Fatalf("%q: version %d", raw, n)
		}
		if bad == nil && (q.forms&formPurge != 0) != slices.Contains(values["purge"], "true") {
			t.Fatalf("%q: purge is %v", raw, values["purge"])
		}
		if q.limit < 0 || q.limit > 10000 {
			t.Fatalf("%q: limit %d", raw, q.limit)
		}
	})
}

// FuzzPath: the form of a path in which routes are looked up is unique, and
// the look-up agrees with acl about what a secret's path is.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/secrets/v1/secret/default/a", "//secrets/v1/secret//default/a%2Fb/", "/secrets/v1/secret/default/%2e%2e/a", "/secrets/v1/store", "/", "", "*",
		"/secrets/v1/secret/default/a%252Fb", "/secrets/v1/secret%2fdefault", "/secrets/v1/init/%64efault", "/secrets/v1/secret/default/ä b",
	} {
		f.Add(seed)
	}
	rt := newRoutes(endpoints())
	f.Fuzz(func(t *testing.T, escaped string) {
		u, err := url.ParseRequestURI(escaped)
		if err != nil {
			return
		}
		p := canonicalPath(u.EscapedPath())
		if p != canonicalPath(p) || strings.Contains(p, "//") || strings.Contains(strings.ToUpper(p), "%2F") {
			t.Fatalf("%q becomes %q", escaped, p)
		}
		got := rt.find(&http.Request{Method: http.MethodGet, URL: u})
		if got.res == nil || got.res.prefix != "/secrets/v1/secret/" {
			return
		}
		ours, err := acl.ParseFolder(got.rest)
		if err != nil {
			return
		}
		// Any spelling of the same path is the same secret.
		again := rt.find(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/secrets/v1//secret/" + got.store + "//" + ours.String() + "/"}})
		theirs, err := acl.ParseFolder(again.rest)
		if err != nil || theirs != ours || again.store != got.store && !strings.ContainsAny(got.store, "/%?#") {
			t.Fatalf("%q is %q of %q, spelled anew %q of %q (%v)", escaped, ours, got.store, theirs, again.store, err)
		}
	})
}

// FuzzHead: no header makes the edge panic, and what it takes for a token
// stands in the header.
func FuzzHead(f *testing.F) {
	f.Add("token=a.b.c", "dcos-acs-auth-cookie=x", "*/*;q=0.5, application/json", "1.2.3.4, 5.6.7.8", "application/json; charset=utf-8", "/a")
	f.Add("Bearer  x", "a=b; dcos-acs-auth-cookie=\"x\"", "application/*;q=x;;", "[::1]:1,", ";", "a.b")
	trusted := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	f.Fuzz(func(t *testing.T, authorization, cookie, accept, forwarded, content, service string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = http.Header{"Authorization": {authorization}, "Accept": {accept}, "X-Forwarded-For": {forwarded}, "Content-Type": {content}, "X-Service-Id": {service}}
		if raw, err := credential(r); err == nil && (raw == "" || !strings.HasSuffix(authorization, raw)) {
			t.Fatalf("%q holds the token %q", authorization, raw)
		}
		r.Header.Del("Authorization")
		r.Header.Set("Cookie", cookie)
		if raw, err := credential(r); err == nil && (raw == "" || !strings.Contains(cookie, raw)) {
			t.Fatalf("%q holds the token %q", cookie, raw)
		}
		for _, kind := range []seal.Kind{seal.Text, seal.Binary} {
			form, err := negotiate(kind, r.Header["Accept"])
			if err == nil && form != "application/octet-stream" && (form != "application/json" || kind == seal.Binary) {
				t.Fatalf("Accept %q gives %q", accept, form)
			}
		}
		if _, err := netip.ParseAddr(remoteAddress(r, trusted)); err != nil {
			t.Fatalf("%q gives no address: %v", forwarded, err)
		}
		contentType(r.Header)
		if svc, has, err := namedService(r.Header, query{}); err == nil && (!has || svc.String() != "/"+strings.Trim(svc.String(), "/") && !svc.IsRoot()) {
			t.Fatalf("service %q: %v %v", service, svc, has)
		}
	})
}

func TestABodyWaitsForItsPartOfTheBudget(t *testing.T) {
	b := newBodies(1)
	if !b.budget.TryAcquire(bodyBudget) {
		t.Fatal("the budget is smaller than it says")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	large := strings.Repeat("x", smallPart+1)
	send := func(ctx context.Context, body string) *call {
		r := httptest.NewRequestWithContext(ctx, http.MethodPut, "/", strings.NewReader(body))
		return &call{w: httptest.NewRecorder(), r: r}
	}
	post := func(ctx context.Context) *call { return send(ctx, large) }
	_, _, err := b.read(post(ctx), 1<<20, "")
	if p := problemOf(err); p.status != http.StatusServiceUnavailable || !p.retry {
		t.Errorf("%+v", p)
	}
	if body, _, err := b.read(send(t.Context(), "small"), 10, ""); err != nil || string(body) != "small" {
		t.Errorf("a small body waits for large ones: %q, %v", body, err)
	}
	b.budget.Release(bodyBudget)
	body, release, err := b.read(post(t.Context()), 1<<20, "")
	if err != nil || string(body) != large {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	release()
	c := post(t.Context())
	if err := b.reserve(c, 10); err != nil {
		t.Fatal(err)
	}
	if b.answers.TryAcquire(bodyBudget) {
		t.Error("an answer took nothing of the budget")
	}
	if !b.budget.TryAcquire(bodyBudget) {
		t.Error("an answer keeps bodies waiting")
	}
	b.shrink(c, 4)
	if b.shrink(c, 8); !b.answers.TryAcquire(bodyBudget - 4) {
		t.Error("not all that it did not need was given back")
	}
	b.answers.Release(bodyBudget - 4)
	c.sent()
	if !b.answers.TryAcquire(bodyBudget) {
		t.Error("not all of the budget was given back")
	}
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	c = post(ctx)
	if p := problemOf(b.reserve(c, 10)); p.status != http.StatusServiceUnavailable || !p.retry || c.sent != nil {
		t.Errorf("%+v", p)
	}
}

func TestEveryEndpointAsksThePolicyOrIsOpen(t *testing.T) {
	open := []string{"ping", "live", "ready", "metrics", "root"}
	for _, ep := range endpoints() {
		if ep.open != slices.Contains(open, ep.name) {
			t.Errorf("%s: open is %v", ep.name, ep.open)
		}
		if !ep.open && ep.op == 0 {
			t.Errorf("%s asks the policy for nothing", ep.name)
		}
	}
}
