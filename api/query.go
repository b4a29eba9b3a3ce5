package api

import (
	"net/url"
	"strconv"
	"strings"

	"secretstore/acl"
	"secretstore/api/wire"
)

// query holds the parameters that the API knows. All others are ignored:
// clients add _ts and _timestamp.
type query struct {
	forms    form
	limit    int // 0: all
	after    string
	paging   error // what is wrong with limit or after; for lists alone, elsewhere they are unknown parameters
	service  string
	services int // how often service was given
	nonce    string
	nonces   int // how often nonce was given
	version  string
	versions int // how often version was given

	// What these hold is checked where they count; elsewhere they are unknown.
	oddPurge bool // purge was given, and is neither true nor false
	watch    string
	watches  int // how often watch was given
	timeout  string
	timeouts int
	prefix   string
	prefixes int
}

// form is a set of the parameters that ask for something else than the secret
// itself. Of all but version and watch only the literal value true counts: clients have
// sent nothing else.
type form uint8

const (
	formList     form = 1 << iota // list=true
	formVersion                   // version=N
	formVersions                  // versions=true
	formPurge                     // purge=true
	formWatch                     // watch=ETAG
)

// nonceParam names the rekey that is to be cancelled.
const nonceParam = "nonce"

const textBadQuery = "malformed query: percent-encode the parameters (list, limit, after, nonce, service, version, versions, purge, " +
	"watch, timeout, prefix) and separate them with &"

// parseQuery reads the query string of a URL. Parameters that it does not know
// are skipped whatever they look like; a known one that does not decode, or is
// given twice, is an error. Which form is asked for is known even then.
func parseQuery(raw string) (query, error) {
	var q query
	var limits, afters int
	var malformed error
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, value, err := splitPair(pair)
		if err != nil {
			malformed = err
			continue
		}
		switch key {
		case "list":
			q.ask(formList, value)
		case "versions":
			q.ask(formVersions, value)
		case "purge":
			q.ask(formPurge, value)
			q.oddPurge = q.oddPurge || value != "true" && value != "false"
		case "version":
			q.forms |= formVersion
			q.versions++
			q.version = value
		case "limit":
			limits++
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > wire.MaxListLimit {
				q.paging = badRequest("limit must be a number from 1 to 10000")
				continue
			}
			q.limit = n
		case "after":
			afters++
			if len(value) > acl.MaxPathBytes {
				q.paging = badRequest("after is longer than any name: send the `next` of the page before")
				continue
			}
			q.after = value
		case wire.ServiceParam:
			q.services++
			q.service = value
		case nonceParam:
			q.nonces++
			q.nonce = value
		case wire.WatchParam:
			q.forms |= formWatch
			q.watches++
			q.watch = value
		case wire.TimeoutParam:
			q.timeouts++
			q.timeout = value
		case wire.PrefixParam:
			q.prefixes++
			q.prefix = value
		}
	}
	if limits > 1 || afters > 1 {
		q.paging = badRequest("limit and after may be given once each")
	}
	if malformed != nil {
		return query{forms: q.forms}, malformed
	}
	return q, nil
}

func (q *query) ask(f form, value string) {
	if value == "true" {
		q.forms |= f
	}
}

// versionNumber is the value of version, where an endpoint is about one.
func (q *query) versionNumber() (uint64, error) {
	n, err := strconv.ParseUint(q.version, 10, 63)
	if err != nil || n == 0 || q.versions > 1 {
		return 0, badRequest("version must be a number from 1, given once: versions=true lists those that there are")
	}
	return n, nil
}

// splitPair decodes one parameter. A semicolon is not a separator here, but it
// is one to other parsers: a service that hides behind one would be seen by a
// proxy and not by this server.
func splitPair(pair string) (key, value string, err error) {
	rawKey, rawValue, _ := strings.Cut(pair, "=")
	key, err = url.QueryUnescape(rawKey)
	if err != nil {
		return "", "", nil // no parameter of ours
	}
	if strings.Contains(pair, ";") {
		for part := range strings.SplitSeq(pair, ";") {
			name, _, _ := strings.Cut(part, "=")
			if name, err := url.QueryUnescape(name); err == nil && known(name) {
				return "", "", badRequest(textBadQuery)
			}
		}
		return "", "", nil
	}
	if !known(key) {
		return "", "", nil
	}
	if value, err = url.QueryUnescape(rawValue); err != nil {
		return "", "", badRequest(textBadQuery)
	}
	return key, value, nil
}

func known(key string) bool {
	switch key {
	case "list", "limit", "after", "version", "versions", "purge", nonceParam, wire.ServiceParam, wire.WatchParam, wire.TimeoutParam, wire.PrefixParam:
		return true
	}
	return false
}
