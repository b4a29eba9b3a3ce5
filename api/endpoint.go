package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"secretstore/acl"
	"secretstore/api/internal/acs"
	"secretstore/api/internal/admin"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/body"
	"secretstore/api/internal/head"
	"secretstore/api/internal/monitor"
	"secretstore/api/internal/problem"
	"secretstore/api/internal/router"
	"secretstore/api/wire"
)

// endpoint is one row of the table of endpoints. The zero endpoint permits
// nothing.
type endpoint struct {
	// name is for the audit log, the log and the metrics.
	name   string
	method string
	// path is below the base path, or at the root of the server if root is set.
	// A path that ends in a slash covers all that begin with it: the name of
	// the store and a secret follow.
	path string
	root bool
	// open endpoints take no token, and are neither decided about nor audited,
	// unless they are audited: by those people sign in.
	open    bool
	audited bool
	// identities: it belongs to the IAM. Package acs finds its path.
	identities bool
	// browsers: it also answers clients that take HTML alone.
	browsers bool
	// plain: in strict mode it is still answered on plain HTTP, to this machine.
	plain bool
	// op is what the policy is asked for.
	op acl.Op
	// form is the query parameter that asks for this endpoint in place of the
	// one of the same method and path without a form.
	form head.Form
	// variants are the endpoints of the same method and path with a form; set
	// by newRoutes.
	variants []*endpoint
	// unsealed endpoints need the keyring.
	unsealed bool
	// behalf: the caller may name a service on whose behalf it asks.
	behalf bool
	// about: the parameter uid says which account it is about; without it, that of
	// the caller.
	about bool
	// body returns the largest body, after it has checked what the head says
	// about it. Nil: the endpoint takes no body.
	body func(*request) (body.Limit, error)
	// malformed is the text of the 400 for a body that is not the JSON document
	// that it should be; optional: the body may be missing.
	malformed string
	optional  bool
	// subject reads from the body what the request is about, if that is not in
	// the head; the decision follows. Nil: the head says it.
	subject func(*exchange) error
	// effect says what the endpoint has done to the store when it succeeds, for
	// a client that does not get the usual answer. "": it changes nothing.
	effect string
	// brake: it works although the audit log cannot be written.
	brake bool
	// spends: a 200 consumes a use of the task token that asked for it.
	spends bool
	// shares: its body holds shares of an unseal key; see answer.SendLast.
	shares bool
	// emergency: a superuser who signed in while the store was sealed may use it.
	emergency bool
	// reads: it changes nothing, though its method is not GET.
	reads bool
	run   func(*exchange) (answer.Reply, error)
	// metrics are those of the endpoint; set by New.
	metrics *monitor.Endpoint
}

// route is the template of the path, for the metrics.
func (ep *endpoint) route() string {
	switch {
	case ep.root:
		return ep.path
	case strings.HasSuffix(ep.path, "/"):
		return wire.BasePath + ep.path + "{store}/{path}"
	default:
		return wire.BasePath + ep.path
	}
}

// resource is one path with the endpoints of its methods.
type resource struct {
	methods map[string]*endpoint
	allow   string // the Allow header of a 405
	open    bool   // as its endpoints
	// otherwise is for methods that are not in methods; nil: 405.
	otherwise *endpoint
}

// routes finds the resource of a path.
type routes struct {
	table     []*endpoint
	router    *router.Router
	resources map[string]*resource // by pattern
	// isACL reports whether the IAM has an ACL of that rid; nil: there is no IAM.
	isACL func(rid string) bool
}

// newRoutes leaves the IAM out if isACL is nil.
func newRoutes(table []*endpoint, isACL func(string) bool) *routes {
	if isACL == nil {
		table = slices.DeleteFunc(slices.Clone(table), func(ep *endpoint) bool { return ep.identities })
	}
	rt := &routes{table: table, router: router.New(), resources: make(map[string]*resource), isACL: isACL}
	for _, ep := range table {
		pattern := ep.path
		if !ep.root {
			pattern = wire.BasePath + pattern
		}
		res := rt.resources[pattern]
		if res == nil {
			res = &resource{methods: make(map[string]*endpoint), open: ep.open}
			rt.resources[pattern] = res
			if acs.Covers(pattern) {
				res.otherwise = otherMethod(res, pattern)
			} else {
				rt.router.Add(pattern)
			}
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
	for _, res := range rt.resources {
		res.allow = strings.Join(slices.Sorted(maps.Keys(res.methods)), ", ")
	}
	return rt
}

// all returns the endpoints of the table, and those for other methods.
func (rt *routes) all() []*endpoint {
	all := slices.Clone(rt.table)
	for _, res := range rt.resources {
		if res.otherwise != nil {
			all = append(all, res.otherwise)
		}
	}
	return all
}

// target is what the path of a request names.
type target struct {
	router.Target
	names acs.Target
	res   *resource // nil: nothing
}

func (rt *routes) find(r *http.Request) target {
	if path := r.URL.EscapedPath(); rt.isACL != nil && acs.Covers(path) {
		names := acs.Find(path, rt.isACL)
		return target{names: names, res: rt.resources[names.Template]}
	}
	t := rt.router.Find(r)
	return target{Target: t, res: rt.resources[t.Pattern]}
}

// allStores is a name of the store in a ping.
const allStores = "all"

const textServiceElsewhere = "a service can only be named when a secret is read or changes are followed: leave out the X-Service-Id header and the query parameter service"

const textTwoLengths = "a request cannot have both Transfer-Encoding and Content-Length: leave one of them out"

// readHead reads the query and the named service.
func (r *request) readHead() (err error) {
	if r.twoLengths {
		return problem.BadRequest(textTwoLengths)
	}
	if r.query, err = head.ParseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if r.query.Forms&head.FormsInPages != 0 && r.readOnly() && r.query.Paging != nil {
		return r.query.Paging
	}
	r.service, r.hasService, err = head.Service(r.Header, r.query)
	return err
}

// resolve finds the endpoint and reads the path.
func (r *request) resolve(t target) (err error) {
	if t.res == nil {
		return problem.NotFound("no such endpoint: the API is below /secrets/v1, see its documentation")
	}
	r.names = t.names
	ep := t.res.methods[r.Method]
	if ep == nil {
		ep = t.res.otherwise
	}
	if ep == nil {
		return methodNotAllowed(t.res)
	}
	r.ep = ep
	for _, v := range ep.variants {
		if err := r.query.CheckBoolean(v.form); err != nil {
			return err
		}
		switch {
		case r.query.Forms&v.form == 0:
		case r.ep != ep:
			return problem.BadRequest("contradictory query: ask for one of list, deleted, search, children, version, versions, purge and watch at a time")
		default:
			r.ep = v
		}
	}
	if t.HasStore && t.Store != admin.DefaultStore {
		return problem.NotFound(problem.StoreNotFound)
	}
	switch r.ep.op {
	case acl.ListSecrets, acl.SearchNames:
		r.path, err = acl.ParseFolder(t.Rest)
	case acl.ReadSecret, acl.CreateSecret, acl.UpdateSecret, acl.DeleteSecret, acl.ReadVersions:
		r.path, err = acl.ParsePath(t.Rest)
	case acl.WatchNames:
		r.path, err = streamFolder(&r.query)
	case acl.Administer:
		if !r.ep.root && strings.HasSuffix(r.ep.path, "/") {
			r.path, err = acl.ParsePath(t.Rest)
		}
	}
	return err
}

func methodNotAllowed(res *resource) error {
	text := "method not allowed: use one of " + res.allow
	if res.methods[http.MethodPut] != nil && res.methods[http.MethodPatch] != nil {
		text += " (PUT creates, PATCH changes)"
	}
	return &problem.Problem{Status: http.StatusMethodNotAllowed, Allow: res.allow, Text: text}
}
