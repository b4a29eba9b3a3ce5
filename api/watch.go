package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/seal"
	"secretstore/store"
)

const (
	// defaultWatch and maxWatch are how long a watch waits.
	defaultWatch = time.Minute
	maxWatch     = 10 * time.Minute
	// recheckEvery is how often the permission of a waiting request is checked
	// again.
	recheckEvery = 5 * time.Second
	// watchRetry is the pause before a watch retries a failed read.
	watchRetry = time.Second
)

const (
	textBadWatch   = "watch must be the ETag of the value that is known, or empty to wait for a secret that does not exist yet; give it once"
	textBadTimeout = "timeout must be a duration such as 60s, from 0s to 10m; give it once"
)

// watches answers the requests that wait for changes: a watch of one secret, and
// a stream of the changes below a folder.
type watches struct {
	store  *seal.Store
	gate   *gate
	audit  *auditor
	limits *watchLimits
}

// watchRequest is what a watch waits for.
type watchRequest struct {
	known   string // the value id that the client has; "" is a secret that does not exist
	timeout time.Duration
}

func parseWatch(q *head.Query) (w watchRequest, err error) {
	if w.known = q.Watch.Value; len(w.known) >= 2 && w.known[0] == '"' && w.known[len(w.known)-1] == '"' {
		w.known = w.known[1 : len(w.known)-1]
	}
	if q.Watch.Times > 1 || w.known != "" && !isValueID(w.known) {
		return watchRequest{}, problem.BadRequest(textBadWatch)
	}
	w.timeout = defaultWatch
	if q.Timeout.Times == 0 {
		return w, nil
	}
	w.timeout, err = time.ParseDuration(q.Timeout.Value)
	if err != nil || q.Timeout.Times > 1 || w.timeout < 0 || w.timeout > maxWatch {
		return watchRequest{}, problem.BadRequest(textBadTimeout)
	}
	return w, nil
}

// isValueID reports whether s has the form of a value id.
func isValueID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// watch answers when the secret is no longer the one that the client knows, or
// when its time is over.
func (h *watches) watch(x *exchange) (reply, error) {
	want, err := parseWatch(&x.req.query)
	if err != nil {
		return reply{}, err
	}
	if err := x.body.Skip(); err != nil {
		return reply{}, err
	}
	leave, err := h.limits.enter(watcherOf(x.who.principal))
	if err != nil {
		return reply{}, err
	}
	defer leave()
	w, err := h.store.Watch(x.req.path)
	if err != nil {
		return reply{}, err
	}
	defer w.Close()
	x.liftDeadlines()
	answer, err := h.awaitChange(x, w, want)
	if denied := h.gate.recheck(x); denied != nil {
		return reply{}, denied
	}
	return answer, err
}

// awaitChange reads the secret, and reads it again whenever it may have changed.
func (h *watches) awaitChange(x *exchange, w *seal.Watch, want watchRequest) (reply, error) {
	began := time.Now()
	defer func() { x.out.waited = time.Since(began) }()
	end := time.NewTimer(x.who.atMost(want.timeout))
	defer end.Stop()
	check := time.NewTicker(recheckEvery)
	defer check.Stop()
	last := want.timeout == 0
	for {
		rep, done, err := h.readOnce(x, w, want.known)
		switch {
		case done:
			return rep, err
		case last && err != nil:
			return reply{}, err
		case last:
			return rep, nil
		}
		var retry <-chan time.Time
		if err != nil {
			retry = time.After(watchRetry)
		} else {
			x.out.unspent = true // the client did have the value
		}
		for read := false; !read; {
			select {
			case <-w.Woken():
				read = true
			case <-retry:
				read = true
			case <-end.C:
				read, last = true, true
			case <-check.C:
				if err := h.gate.recheck(x); err != nil && !temporary(err) {
					return reply{}, err
				}
			case <-h.limits.ending:
				return reply{}, stopping()
			case <-x.req.Context().Done():
				return reply{}, x.req.Context().Err()
			}
		}
	}
}

// temporary reports whether err comes from a storage that is away: a watch waits
// for it to come back.
func temporary(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// atMost shortens the wait d of a request to the life of its token.
func (c *caller) atMost(d time.Duration) time.Duration {
	if expires := c.principal.Expires; !expires.IsZero() {
		d = min(d, max(0, time.Until(expires)))
	}
	return d
}

// readOnce reads the secret. It is done if that is not the known one, or cannot
// be read for a reason that will not pass. Otherwise the reply is the answer for
// a client whose time is over, and err says why the secret could not be read, if
// it could not.
func (h *watches) readOnce(x *exchange, w *seal.Watch, known string) (rep reply, done bool, err error) {
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	secret, err := w.Look(ctx, known)
	switch {
	case err == nil && secret.ID == known:
		return reply{status: http.StatusNotModified, etag: head.ETag(known), age: secret.Age}, false, nil
	case err == nil:
		form, err := head.Negotiate(secret.Kind, x.req.Header)
		if err != nil {
			return reply{}, true, err
		}
		rep, err = secretReply(&secret, form)
		return rep, true, err
	case errors.Is(err, seal.ErrNotFound) && known == "":
		return reply{status: http.StatusNotModified}, false, nil
	default:
		return reply{}, !temporary(err), err
	}
}
