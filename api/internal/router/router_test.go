package router

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"secretstore/acl"
)

// FuzzPath: the canonical form of a path is unique, and the router agrees with
// acl about the path of a secret.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{
		"/secrets/v1/secret/default/a", "//secrets/v1/secret//default/a%2Fb/", "/secrets/v1/secret/default/%2e%2e/a", "/secrets/v1/store", "/", "", "*",
		"/secrets/v1/secret/default/a%252Fb", "/secrets/v1/secret%2fdefault", "/secrets/v1/init/%64efault", "/secrets/v1/secret/default/ä b",
	} {
		f.Add(seed)
	}
	rt := New()
	for _, pattern := range []string{"/secrets/v1/secret/", "/secrets/v1/store", "/secrets/v1/init/{store}", "/"} {
		rt.Add(pattern)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		u, err := url.ParseRequestURI(escaped)
		if err != nil {
			return
		}
		p := canonical(u.EscapedPath())
		if p != canonical(p) || strings.Contains(p, "//") || strings.Contains(strings.ToUpper(p), "%2F") {
			t.Fatalf("%q becomes %q", escaped, p)
		}
		got := rt.Find(&http.Request{Method: http.MethodGet, URL: u})
		if got.Pattern != "/secrets/v1/secret/" {
			return
		}
		ours, err := acl.ParseFolder(got.Rest)
		if err != nil {
			return
		}
		// Any spelling of the same path is the same secret.
		again := rt.Find(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/secrets/v1//secret/" + got.Store + "//" + ours.String() + "/"}})
		theirs, err := acl.ParseFolder(again.Rest)
		if err != nil || theirs != ours || again.Store != got.Store && !strings.ContainsAny(got.Store, "/%?#") {
			t.Fatalf("%q is %q of %q, spelled anew %q of %q (%v)", escaped, ours, got.Store, theirs, again.Store, err)
		}
	})
}
