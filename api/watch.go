package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"secretstore/seal"
	"secretstore/store"
)

const (
	// defaultWatch and maxWatch are how long a watch waits.
	defaultWatch = time.Minute
	maxWatch     = 10 * time.Minute
	// recheckEvery is how often those who wait are asked again whether they may.
	recheckEvery = 5 * time.Second
	// watchRetry is waited before a watch looks again that could not.
	watchRetry = time.Second
)

const (
	textBadWatch    = "watch must be the ETag of the value that is known, or empty to wait for a secret that does not exist yet; give it once"
	textBadTimeout  = "timeout must be a duration such as 60s, from 0s to 10m; give it once"
	textShutdown    = "this server stops: ask another one, or the same again in a moment"
	textManyWatches = "too many watches on this server: try again later, or ask another server"
	textYourWatches = "too many watches by this user: end some, or watch a folder with GET /secrets/v1/watch/default"
)

// watchWish is what a client says who waits for a secret to change.
type watchWish struct {
	known   string // value id; "" is that it does not exist
	timeout time.Duration
}

// parseWatch reads the parameters of a watch.
func parseWatch(q *query) (w watchWish, err error) {
	if w.known = q.watch; len(w.known) >= 2 && w.known[0] == '"' && w.known[len(w.known)-1] == '"' {
		w.known = w.known[1 : len(w.known)-1]
	}
	if q.watches > 1 || w.known != "" && !isValueID(w.known) {
		return watchWish{}, badRequest(textBadWatch)
	}
	w.timeout = defaultWatch
	if q.timeouts == 0 {
		return w, nil
	}
	w.timeout, err = time.ParseDuration(q.timeout)
	if err != nil || q.timeouts > 1 || w.timeout < 0 || w.timeout > maxWatch {
		return watchWish{}, badRequest(textBadTimeout)
	}
	return w, nil
}

// isValueID reports whether s is written as value ids are.
func isValueID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// recheck asks everything again that was asked when the request came, and may
// have changed while it waited: the token and its keys, the policy, the seal.
func (s *Server) recheck(c *call) error {
	if err := s.authenticate(c); err != nil {
		return err
	}
	if err := s.authorize(c); err != nil {
		return err
	}
	return unsealedError(s.store.Status())
}

// passing says whether err is of the storage, for which a watch waits.
func passing(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// watchSecret answers when the secret is no longer what the client knows, or
// when its time is up.
func (s *Server) watchSecret(c *call) (reply, error) {
	wish, err := parseWatch(&c.query)
	if err != nil {
		return reply{}, err
	}
	if err := c.skipBody(); err != nil {
		return reply{}, err
	}
	leave, err := s.waits.enter(waiterOf(c.principal))
	if err != nil {
		return reply{}, err
	}
	defer leave()
	w, err := s.store.Watch(c.path)
	if err != nil {
		return reply{}, err
	}
	defer w.Close()
	c.wait()
	answer, err := s.awaitChange(c, w, wish)
	if again := s.recheck(c); again != nil {
		return reply{}, again
	}
	return answer, err
}

// skipBody reads the body that no GET needs, while there still is a deadline for
// it: net/http reads what is left of one before it sends an answer, and once wait
// has taken the deadlines it would read for ever.
func (c *call) skipBody() error {
	switch n, err := io.CopyN(io.Discard, c.r.Body, smallBody+1); {
	case n > smallBody:
		return &problem{status: http.StatusRequestEntityTooLarge, text: "the body is too large: a watch needs none"}
	case !errors.Is(err, io.EOF):
		c.cut = true
		return badRequest(textBodyBroken)
	}
	return nil
}

// wait takes the deadlines from a request that waits: net/http counts the time
// of the handler, and would end it.
func (c *call) wait() {
	c.waits = true
	ctl := http.NewResponseController(c.w)
	_ = ctl.SetReadDeadline(time.Time{}) // a writer without deadlines has none to take
	_ = ctl.SetWriteDeadline(time.Time{})
}

// awaitChange looks, and looks again whenever there may be something new.
func (s *Server) awaitChange(c *call, w *seal.Watch, wish watchWish) (reply, error) {
	began := time.Now()
	defer func() { c.waited = time.Since(began) }()
	end := time.NewTimer(c.patience(wish.timeout))
	defer end.Stop()
	check := time.NewTicker(recheckEvery)
	defer check.Stop()
	last := wish.timeout == 0
	for {
		rep, done, err := s.lookOnce(c, w, wish.known)
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
			c.free = true // the client did know the value
		}
		for look := false; !look; {
			select {
			case <-w.Woken():
				look = true
			case <-retry:
				look = true
			case <-end.C:
				look, last = true, true
			case <-check.C:
				if err := s.recheck(c); err != nil && !passing(err) {
					return reply{}, err
				}
			case <-s.waits.ending:
				return reply{}, stopping()
			case <-c.r.Context().Done():
				return reply{}, c.r.Context().Err()
			}
		}
	}
}

// patience is how long a request waits that would wait for d: no longer than
// its token lasts.
func (c *call) patience(d time.Duration) time.Duration {
	if expires := c.principal.Expires; !expires.IsZero() {
		d = min(d, max(0, time.Until(expires)))
	}
	return d
}

func stopping() *problem {
	return &problem{status: http.StatusServiceUnavailable, retry: true, text: textShutdown}
}

// lookOnce is done if the secret is not what is known. Otherwise the reply is
// the one for a client whose time is up; an error then says that it could not
// be looked at, which may pass.
func (s *Server) lookOnce(c *call, w *seal.Watch, known string) (rep reply, done bool, err error) {
	ctx, cancel := s.readContext(c)
	defer cancel()
	secret, err := w.Look(ctx, known)
	switch {
	case err == nil && secret.ID == known:
		return reply{status: http.StatusNotModified, etag: etagOf(known), age: secret.Age}, false, nil
	case err == nil:
		form, err := negotiate(secret.Kind, c.r.Header["Accept"])
		if err != nil {
			return reply{}, true, err
		}
		rep, err = secretReply(&secret, form)
		return rep, true, err
	case errors.Is(err, seal.ErrNotFound) && known == "":
		return reply{status: http.StatusNotModified}, false, nil
	case passing(err):
		return reply{}, false, err
	default:
		return reply{}, true, err
	}
}
