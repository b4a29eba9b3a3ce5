package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/body"
	"secretstore/api/internal/head"
	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
	"secretstore/api/internal/watch"
	"secretstore/seal"
	"secretstore/store"
)

const (
	// recheckEvery is how often the permission of a waiting request is checked
	// again.
	recheckEvery = 5 * time.Second
	// watchRetry is the pause before a watch retries a failed read.
	watchRetry = time.Second
)

// watches answers the requests that wait for changes: a watch of one secret,
// and a stream of the changes below a folder.
type watches struct {
	store  *seal.Store
	gate   *gate
	audit  *auditor
	limits *watch.Limits
	budget *body.Budget
}

// watch answers when the secret is no longer the one that the client knows, or
// when its time is over.
func (h *watches) watch(x *exchange) (answer.Reply, error) {
	want, err := watch.Parse(&x.req.query)
	if err != nil {
		return answer.Reply{}, err
	}
	if err := x.body.Skip(); err != nil {
		return answer.Reply{}, err
	}
	if want.Timeout > 0 { // a watch that does not wait needs no place to wait
		leave, err := h.limits.Enter(pool.Of(x.who.principal))
		if err != nil {
			return answer.Reply{}, err
		}
		defer leave()
	}
	w, err := h.store.Watch(x.req.path)
	if err != nil {
		return answer.Reply{}, err
	}
	defer w.Close()
	x.liftDeadlines()
	rep, err := h.awaitChange(x, w, want)
	if denied := h.gate.recheck(x); denied != nil {
		return answer.Reply{}, denied
	}
	return rep, err
}

// awaitChange reads the secret, and reads it again whenever it may have
// changed.
func (h *watches) awaitChange(x *exchange, w *seal.Watch, want watch.Request) (answer.Reply, error) {
	began := time.Now()
	defer func() { x.out.waited = time.Since(began) }()
	end := time.NewTimer(x.who.atMost(want.Timeout))
	defer end.Stop()
	check := time.NewTicker(recheckEvery)
	defer check.Stop()
	memory := memoryFor(x, h.budget)
	last := want.Timeout == 0
	for {
		rep, done, err := h.readOnce(x, w, memory, want.Known)
		switch {
		case done:
			return rep, err
		case last && err != nil:
			return answer.Reply{}, err
		case last:
			return rep, nil
		}
		var retry <-chan time.Time
		if err != nil {
			retry = time.After(watchRetry)
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
					return answer.Reply{}, err
				}
			case <-h.limits.Ending():
				return answer.Reply{}, watch.Stopping()
			case <-x.req.Context().Done():
				return answer.Reply{}, x.req.Context().Err()
			}
		}
	}
}

// temporary reports whether err comes from a storage that is away, or from a lack
// of memory: a watch waits for either.
func temporary(err error) bool {
	var busy *problem.Problem
	if errors.As(err, &busy) && busy.Status == http.StatusServiceUnavailable && busy.Retry {
		return true
	}
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
// be read for a reason that will not pass. Otherwise the reply is the answer
// for a client whose time is over, and err says why the secret could not be
// read, if it could not.
func (h *watches) readOnce(x *exchange, w *seal.Watch, memory *answerMemory, known string) (rep answer.Reply, done bool, err error) {
	ctx, cancel := readContext(x, h.store)
	defer cancel()
	defer func() {
		if !done {
			memory.release()
		}
	}()
	secret, err := w.LookBounded(ctx, known, memory.try)
	switch {
	case err == nil && secret.ID == known:
		return answer.Reply{Status: http.StatusNotModified, ETag: head.ETag(known), Age: secret.Age}, false, nil
	case err == nil:
		form, err := head.Negotiate(secret.Kind, x.req.Header)
		if err != nil {
			return answer.Reply{}, true, err
		}
		rep, err = secretReply(&secret, form)
		if err == nil {
			err = memory.try(sizeOf(&secret, &rep))
		}
		return rep, !temporary(err), err
	case errors.Is(err, seal.ErrNotFound) && known == "":
		return answer.Reply{Status: http.StatusNotModified}, false, nil
	default:
		return answer.Reply{}, !temporary(err), err
	}
}
