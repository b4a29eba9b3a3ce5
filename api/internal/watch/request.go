package watch

import (
	"strings"
	"time"

	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
)

// defaultWatch and maxWatch are how long a watch waits.
const (
	defaultWatch = time.Minute
	maxWatch     = 10 * time.Minute
)

const (
	textBadWatch   = "watch must be the ETag of the value that is known, or empty to wait for a secret that does not exist yet; give it once"
	textBadTimeout = "timeout must be a duration such as 60s, from 0s to 10m; give it once"
)

// Request is what a watch waits for.
type Request struct {
	Known   string // the value id that the client has; "" is a secret that does not exist
	Timeout time.Duration
}

// Parse reads the parameters of a watch.
func Parse(q *head.Query) (w Request, err error) {
	if w.Known = q.Watch.Value; len(w.Known) >= 2 && w.Known[0] == '"' && w.Known[len(w.Known)-1] == '"' {
		w.Known = w.Known[1 : len(w.Known)-1]
	}
	if q.Watch.Times > 1 || w.Known != "" && !isValueID(w.Known) {
		return Request{}, problem.BadRequest(textBadWatch)
	}
	w.Timeout = defaultWatch
	if q.Timeout.Times == 0 {
		return w, nil
	}
	w.Timeout, err = time.ParseDuration(q.Timeout.Value)
	if err != nil || q.Timeout.Times > 1 || w.Timeout < 0 || w.Timeout > maxWatch {
		return Request{}, problem.BadRequest(textBadTimeout)
	}
	return w, nil
}

// isValueID reports whether s has the form of a value id.
func isValueID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}
