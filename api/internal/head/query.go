package head

import (
	"net/url"
	"strconv"
	"strings"

	"secretstore/acl"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
)

// Query holds the parameters that the API knows. All others are ignored:
// clients add _ts and _timestamp. A parameter that an endpoint does not know is
// ignored there, so its value is checked only where it counts.
type Query struct {
	Forms   Form
	Limit   int // 0: all
	After   string
	Paging  error // what is wrong with limit or after
	Service Param
	Nonce   Param
	Watch   Param
	Timeout Param
	Prefix  Param
	UID     Param
	Action  Param
	Path    Param
	Bound   Param
	Search  Param
	details Param
	version Param
	limit   Param
	after   Param
	off     Form // whose parameter is false
	odd     Form // whose parameter is neither true nor false
}

// Param is a parameter that may be given once.
type Param struct {
	Value string // the last
	Times int    // how often it was given
}

func (p *Param) add(value string) { p.Value, p.Times = value, p.Times+1 }

// Form is a set of the parameters that ask for something other than the secret
// itself, or for it in another way.
type Form uint16

// The forms.
const (
	FormList     Form = 1 << iota // list=true
	FormVersion                   // version=N
	FormVersions                  // versions=true
	FormPurge                     // purge=true
	FormWatch                     // watch=ETAG
	FormDeleted                   // deleted=true
	FormKey                       // bootstrap_key=true
	FormSearch                    // search=TEXT
	FormChildren                  // children=true
	FormPause                     // pause=true

	// FormsInPages come in pages, with limit and after.
	FormsInPages = FormList | FormDeleted | FormSearch | FormChildren
)

// booleans are the parameters that are true or false.
var booleans = map[string]Form{"list": FormList, "versions": FormVersions, "purge": FormPurge, "deleted": FormDeleted, "bootstrap_key": FormKey, "children": FormChildren, "pause": FormPause}

// nonceParam names the rekey to cancel.
const nonceParam = "nonce"

const textBadQuery = "malformed query: percent-encode the parameters (list, deleted, search, children, details, bootstrap_key, pause, limit, after, nonce, service, version, versions, purge, " +
	"watch, timeout, prefix, uid, action, path, bound) and separate them with &"

// ParseQuery reads the query string of a URL. It skips parameters that it does
// not know, however malformed; a known one that does not decode is an error.
// The Query then still holds its Forms.
func ParseQuery(raw string) (Query, error) {
	var q Query
	var malformed error
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, value, err := splitPair(pair)
		if err != nil {
			malformed = err
			continue
		}
		if p := q.param(key); p != nil {
			p.add(value)
		}
		q.setForm(key, value)
	}
	if malformed != nil {
		return Query{Forms: q.Forms}, malformed
	}
	q.Limit, q.After, q.Paging = q.page()
	return q, nil
}

// param returns where to keep the parameter, or nil.
func (q *Query) param(key string) *Param {
	switch key {
	case wire.ServiceParam:
		return &q.Service
	case nonceParam:
		return &q.Nonce
	case wire.WatchParam:
		return &q.Watch
	case wire.TimeoutParam:
		return &q.Timeout
	case wire.PrefixParam:
		return &q.Prefix
	case wire.UIDParam:
		return &q.UID
	case wire.ActionParam:
		return &q.Action
	case wire.PathParam:
		return &q.Path
	case wire.BoundParam:
		return &q.Bound
	case wire.SearchParam:
		return &q.Search
	case wire.DetailsParam:
		return &q.details
	case "version":
		return &q.version
	case "limit":
		return &q.limit
	case "after":
		return &q.after
	}
	return nil
}

func (q *Query) setForm(key, value string) {
	switch form := booleans[key]; {
	case key == "version":
		q.Forms |= FormVersion
	case key == wire.WatchParam:
		q.Forms |= FormWatch
	case key == wire.SearchParam:
		q.Forms |= FormSearch
	case value == "true":
		q.Forms |= form
	case value == "false":
		q.off |= form
	default:
		q.odd |= form
	}
}

// CheckBoolean returns an error if the parameter that asks for form was given, and
// is neither true nor false, or both: the answer would be to another question, and
// a delete would keep what the client meant to destroy.
func (q *Query) CheckBoolean(form Form) error {
	for name, f := range booleans {
		if f == form && (q.odd|q.Forms&q.off)&f != 0 {
			return problem.BadRequest(name + " must be true or false")
		}
	}
	return nil
}

// page checks the parameters of a page of a list.
func (q *Query) page() (limit int, after string, err error) {
	if q.limit.Times > 1 || q.after.Times > 1 {
		return 0, "", problem.BadRequest("limit and after may be given once each")
	}
	if q.limit.Times == 1 {
		limit, err = strconv.Atoi(q.limit.Value)
		if err != nil || limit < 1 || limit > wire.MaxListLimit {
			return 0, "", problem.BadRequest("limit must be a number from 1 to 10000")
		}
	}
	if len(q.after.Value) > acl.MaxPathBytes {
		return 0, "", problem.BadRequest("after is longer than any name: send the `next` of the previous page")
	}
	return limit, q.after.Value, nil
}

// SearchText returns the text that names are searched for.
func (q *Query) SearchText() (string, error) {
	switch {
	case q.Search.Times != 1:
		return "", problem.BadRequest("search may be given once")
	case len(q.Search.Value) > acl.MaxPathBytes:
		return "", problem.BadRequest("search is longer than any name")
	}
	return q.Search.Value, nil
}

// Details reports whether details are asked for.
func (q *Query) Details() (bool, error) {
	switch {
	case q.details.Times == 0:
		return false, nil
	case q.details.Times > 1 || q.details.Value != "true" && q.details.Value != "false":
		return false, problem.BadRequest(wire.DetailsParam + " must be true or false")
	}
	return q.details.Value == "true", nil
}

// Version returns the number in version, for an endpoint that needs one.
func (q *Query) Version() (uint64, error) {
	n, err := strconv.ParseUint(q.version.Value, 10, 63)
	if err != nil || n == 0 || q.version.Times > 1 {
		return 0, problem.BadRequest("version must be a number from 1, given once: versions=true lists the versions")
	}
	return n, nil
}

// splitPair decodes one parameter. A semicolon is not a separator here, but it
// is one to other parsers: a proxy would see a service behind it that this
// server does not.
func splitPair(pair string) (key, value string, err error) {
	rawKey, rawValue, _ := strings.Cut(pair, "=")
	key, err = url.QueryUnescape(rawKey)
	if err != nil {
		return "", "", nil // not one of our parameters
	}
	if strings.Contains(pair, ";") {
		for part := range strings.SplitSeq(pair, ";") {
			name, _, _ := strings.Cut(part, "=")
			if name, err := url.QueryUnescape(name); err == nil && known(name) {
				return "", "", problem.BadRequest(textBadQuery)
			}
		}
		return "", "", nil
	}
	if !known(key) {
		return "", "", nil
	}
	if value, err = url.QueryUnescape(rawValue); err != nil {
		return "", "", problem.BadRequest(textBadQuery)
	}
	return key, value, nil
}

func known(key string) bool {
	switch key {
	case "limit", "after", "version", nonceParam, wire.ServiceParam, wire.WatchParam, wire.TimeoutParam, wire.PrefixParam,
		wire.UIDParam, wire.ActionParam, wire.PathParam, wire.BoundParam, wire.SearchParam, wire.DetailsParam:
		return true
	}
	return booleans[key] != 0
}
