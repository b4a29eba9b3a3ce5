package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"secretstore/acl"
	"secretstore/api/wire"
)

// endpoint is one row of the route table. The zero endpoint permits nothing.
type endpoint struct {
	// name is what audit, log and metrics call it.
	name   string
	method string
	// path is below the base path; at the root of the server where root is
	// set. A path that ends in a slash covers all that begin with it: the
	// store's name and a secret follow.
	path string
	root bool
	// open endpoints take no token, and are neither decided about nor audited.
	open bool
	// op is what the policy is asked for.
	op acl.Op
	// form is the query parameter by which this endpoint is asked for, in place of
	// the one of the same method and path without a form.
	form form
	// variants are the endpoints of the same method and path with a form; set by
	// newRoutes.
	variants []*endpoint
	// unsealed endpoints need the keyring.
	unsealed bool
	// behalf: a service may be named (section 6 of the contract).
	behalf bool
	// subject reads from the body what the request is about, where that is not
	// in its head; the decision follows. Nil: the head says it.
	subject func(*Server, *call) error
	// spends: a 200 is a use of the task token that asked for it.
	spends bool
	// reads: it changes nothing, though its method is no GET.
	reads bool
	run   func(*Server, *call) (reply, error)

	metrics *endpointMetrics
}

// endpoints returns the whole surface of the server. The paths of secrets come
// first: they are what nearly all requests ask for, and the router tries the
// rows in order. A row with a form follows the one without.
func endpoints() []*endpoint {
	return []*endpoint{
		{name: "secret.read", method: http.MethodGet, path: "/secret/", op: acl.ReadSecret, unsealed: true, behalf: true, spends: true, run: (*Server).readSecret},
		{name: "secret.list", method: http.MethodGet, path: "/secret/", form: formList, op: acl.ListSecrets, unsealed: true, run: (*Server).listSecrets},
		{name: "secret.version", method: http.MethodGet, path: "/secret/", form: formVersion, op: acl.ReadVersions, unsealed: true, run: (*Server).readVersion},
		{name: "secret.versions", method: http.MethodGet, path: "/secret/", form: formVersions, op: acl.ReadVersions, unsealed: true, run: (*Server).listVersions},
		{name: "secret.watch", method: http.MethodGet, path: "/secret/", form: formWatch, op: acl.ReadSecret, unsealed: true, behalf: true, spends: true, run: (*Server).watchSecret},
		{name: "secret.create", method: http.MethodPut, path: "/secret/", op: acl.CreateSecret, unsealed: true, run: (*Server).createSecret},
		{name: "secret.update", method: http.MethodPatch, path: "/secret/", op: acl.UpdateSecret, unsealed: true, run: (*Server).updateSecret},
		{name: "secret.delete", method: http.MethodDelete, path: "/secret/", op: acl.DeleteSecret, unsealed: true, run: (*Server).deleteSecret},
		{name: "secret.version.delete", method: http.MethodDelete, path: "/secret/", form: formVersion, op: acl.DeleteSecret, unsealed: true, run: (*Server).deleteVersion},
		{name: "secret.purge", method: http.MethodDelete, path: "/secret/", form: formPurge, op: acl.DeleteSecret, unsealed: true, run: (*Server).purgeSecret},
		{name: "secret.undelete", method: http.MethodPut, path: "/undelete/", op: acl.CreateSecret, unsealed: true, run: (*Server).undeleteSecret},

		{name: "secret.resolve", method: http.MethodPost, path: "/resolve/{store}", op: acl.ResolveSecrets, unsealed: true, reads: true, spends: true, run: (*Server).resolveSecrets},
		{name: "secret.check", method: http.MethodPost, path: "/check/{store}", op: acl.ResolveSecrets, unsealed: true, reads: true, run: (*Server).checkDefinitions},
		{name: "watch", method: http.MethodGet, path: "/watch/{store}", op: acl.WatchNames, unsealed: true, behalf: true, run: (*Server).streamChanges},

		{name: "store.list", method: http.MethodGet, path: "/store", op: acl.ViewStore, run: (*Server).listStores},
		{name: "store.show", method: http.MethodGet, path: "/store/{store}", op: acl.ViewStore, run: (*Server).showStore},
		{name: "init.show", method: http.MethodGet, path: "/init/{store}", op: acl.Administer, run: (*Server).showInit},
		{name: "init", method: http.MethodPut, path: "/init/{store}", op: acl.Administer, run: (*Server).initStore},
		{name: "seal-status", method: http.MethodGet, path: "/seal-status/{store}", op: acl.ViewStore, run: (*Server).showSealStatus},
		{name: "unseal", method: http.MethodPut, path: "/unseal/{store}", op: acl.Administer, run: (*Server).unsealStore},
		{name: "auto-unseal", method: http.MethodPut, path: "/auto-unseal/{store}", op: acl.Administer, run: (*Server).autoUnsealStore},
		{name: "seal", method: http.MethodPut, path: "/seal/{store}", op: acl.Administer, run: (*Server).sealStore},
		{name: "rekey.show", method: http.MethodGet, path: "/rekey/{store}", op: acl.Administer, unsealed: true, run: (*Server).showRekey},
		{name: "rekey", method: http.MethodPut, path: "/rekey/{store}", op: acl.Administer, unsealed: true, run: (*Server).startRekey},
		{name: "rekey.cancel", method: http.MethodDelete, path: "/rekey/{store}", op: acl.Administer, unsealed: true, run: (*Server).cancelRekey},
		{name: "rekey.verify", method: http.MethodPut, path: "/rekey/{store}/verify", op: acl.Administer, unsealed: true, run: (*Server).verifyRekey},
		{name: "rotate.show", method: http.MethodGet, path: "/rotate/{store}", op: acl.Administer, unsealed: true, run: (*Server).showRotation},
		{name: "rotate", method: http.MethodPut, path: "/rotate/{store}", op: acl.Administer, unsealed: true, run: (*Server).rotateStore},
		{name: "keys.show", method: http.MethodGet, path: "/keys/{store}", op: acl.Administer, run: (*Server).showKeys},
		{name: "task-token", method: http.MethodPost, path: "/task-token/{store}", op: acl.MintTaskToken, unsealed: true, subject: (*Server).taskOf, run: (*Server).mintTaskToken},
		{name: "revoke", method: http.MethodPut, path: "/revoke", op: acl.ViewStore, run: (*Server).noLeases},
		{name: "nodes.show", method: http.MethodGet, path: "/nodes/{store}", op: acl.Administer, run: (*Server).showNodes},
		{name: "revoke", method: http.MethodPut, path: "/revoke/", op: acl.ViewStore, run: (*Server).noLeases},
		{name: "renew", method: http.MethodPut, path: "/renew", op: acl.ViewStore, run: (*Server).noLeases},
		{name: "renew", method: http.MethodPut, path: "/renew/", op: acl.ViewStore, run: (*Server).noLeases},

		{name: "ping", method: http.MethodGet, path: "/ping", open: true, run: (*Server).ping},
		{name: "ping", method: http.MethodGet, path: "/ping/backends/{store}", open: true, run: (*Server).ping},
		{name: "live", method: http.MethodGet, path: "/live", root: true, open: true, run: (*Server).live},
		{name: "ready", method: http.MethodGet, path: "/ready", root: true, open: true, run: (*Server).ready},
		{name: "metrics", method: http.MethodGet, path: "/metrics", root: true, open: true, run: (*Server).serveMetrics},
		{name: "root", method: http.MethodGet, path: "/", root: true, open: true, run: (*Server).nothingHere},
	}
}

// resource is one path pattern with the endpoints of its methods.
type resource struct {
	methods map[string]*endpoint
	allow   string // the Allow header of a 405
	open    bool   // whether its endpoints are
	prefix  string // of a path that is matched by its beginning, or ""
}

// routes finds the resource of a path. Methods are not the router's business,
// for a token is asked for between the one and the other.
type routes struct {
	router    *mux.Router
	resources map[*mux.Route]*resource
}

func newRoutes(table []*endpoint) *routes {
	rt := &routes{
		// No cleaning: it answers 301, which turns a client's PUT into a GET.
		router:    mux.NewRouter().SkipClean(true).UseEncodedPath(),
		resources: make(map[*mux.Route]*resource),
	}
	byPath := make(map[string]*resource)
	for _, ep := range table {
		path := ep.path
		if !ep.root {
			path = wire.BasePath + path
		}
		res := byPath[path]
		if res == nil {
			res = &resource{methods: make(map[string]*endpoint), open: ep.open}
			byPath[path] = res
			rt.resources[rt.register(path, res)] = res
		}
		if ep.form != 0 {
			res.methods[ep.method].variants = append(res.methods[ep.method].variants, ep)
			continue
		}
		res.methods[ep.method] = ep
		if ep.method == http.MethodGet {
			res.methods[http.MethodHead] = ep
		}
	}
	for _, res := range byPath {
		methods := make([]string, 0, len(res.methods))
		for m := range res.methods {
			methods = append(methods, m)
		}
		slices.Sort(methods)
		res.allow = strings.Join(methods, ", ")
	}
	return rt
}

func (rt *routes) register(path string, res *resource) *mux.Route {
	if path == "/" || !strings.HasSuffix(path, "/") {
		return rt.router.NewRoute().Path(path)
	}
	res.prefix = path
	return rt.router.NewRoute().MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
		return strings.HasPrefix(r.URL.RawPath, path) || r.URL.RawPath == "" && strings.HasPrefix(r.URL.Path, path)
	})
}

// target is what the path of a request names.
type target struct {
	res      *resource // nil: nothing
	store    string
	hasStore bool
	rest     string // what follows the store, still escaped
}

// find looks up the path of a URL.
func (rt *routes) find(r *http.Request) target {
	escaped := r.URL.EscapedPath()
	path := canonicalPath(escaped)
	if path != escaped {
		plain, err := url.PathUnescape(path)
		if err != nil {
			return target{}
		}
		r = &http.Request{Method: r.Method, URL: &url.URL{Path: plain, RawPath: path}}
	}
	var match mux.RouteMatch
	if !rt.router.Match(r, &match) {
		return target{}
	}
	t := target{res: rt.resources[match.Route]}
	if t.res != nil && t.res.prefix != "" {
		t.store, t.rest, _ = strings.Cut(path[len(t.res.prefix):], "/")
		t.hasStore = true
	} else {
		t.store, t.hasStore = match.Vars[storeVar]
	}
	if plain, err := url.PathUnescape(t.store); err == nil {
		t.store = plain
	}
	return t
}

// storeVar is the variable of a path pattern that names a store.
const storeVar = "store"

// canonicalPath writes a path with single slashes and none at the end, where
// %2F is a slash too. Other escapes stay, and so do . and .. components, which
// no route and no secret has.
func canonicalPath(p string) string {
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
