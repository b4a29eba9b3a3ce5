// Package router finds the pattern that the path of a request matches. It
// ignores methods: the server asks for a token before it answers 405.
//
// It never redirects for the form of a path: a 301 turns a client's PUT into a
// GET. Instead, runs of slashes count as one, slashes at the end are dropped,
// and %2F is a slash.
package router

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/mux"
)

// Router finds patterns. Add is not safe for use beside Find.
type Router struct {
	mux      *mux.Router
	patterns map[*mux.Route]string
}

// New returns a router without patterns.
func New() *Router {
	return &Router{mux: mux.NewRouter().SkipClean(true).UseEncodedPath(), patterns: make(map[*mux.Route]string)}
}

// Add adds a pattern. {store} in it is the name of a store. A pattern that ends
// in a slash matches every path that begins with it, where the name of a store
// and the path of a secret follow. Patterns are tried in the order of Add.
func (rt *Router) Add(pattern string) {
	route := rt.mux.NewRoute()
	if isPrefix(pattern) {
		route.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
			return strings.HasPrefix(r.URL.RawPath, pattern) || r.URL.RawPath == "" && strings.HasPrefix(r.URL.Path, pattern)
		})
	} else {
		route.Path(pattern)
	}
	rt.patterns[route] = pattern
}

func isPrefix(pattern string) bool { return len(pattern) > 1 && strings.HasSuffix(pattern, "/") }

// Target is what the path of a request names.
type Target struct {
	Pattern string // "": none matches
	// Store is the name of the store, if HasStore.
	Store    string
	HasStore bool
	// Rest follows the store, still escaped.
	Rest string
}

// Find looks up the path of a URL.
func (rt *Router) Find(r *http.Request) Target {
	escaped := r.URL.EscapedPath()
	path := canonical(escaped)
	if path != escaped {
		plain, err := url.PathUnescape(path)
		if err != nil {
			return Target{}
		}
		r = &http.Request{Method: r.Method, URL: &url.URL{Path: plain, RawPath: path}}
	}
	var match mux.RouteMatch
	if !rt.mux.Match(r, &match) {
		return Target{}
	}
	t := Target{Pattern: rt.patterns[match.Route]}
	if isPrefix(t.Pattern) {
		t.Store, t.Rest, _ = strings.Cut(path[len(t.Pattern):], "/")
		t.HasStore = true
	} else {
		t.Store, t.HasStore = match.Vars["store"]
	}
	if plain, err := url.PathUnescape(t.Store); err == nil {
		t.Store = plain
	}
	return t
}

// canonical writes a path with single slashes and none at the end, and with
// slashes for %2F. Other escapes stay, and so do . and .. components, which no
// route and no secret has.
func canonical(p string) string {
	if strings.Contains(p, "%2") {
		p = strings.NewReplacer("%2F", "/", "%2f", "/").Replace(p)
	}
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	if len(p) > 1 {
		p = strings.TrimSuffix(p, "/")
	}
	return p
}
