package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// dialTimeout is how long a connection may take where there is another server
// to connect to.
const dialTimeout = 5 * time.Second

// attempt is what is known of one request to one server.
type attempt struct {
	counted bool // its token has a limited number of uses, and the request may be one
	sent    bool // there was a connection: the server may have the request
	lost    bool // there was no answer, or not a whole one
}

// trace returns a context whose request reports in sent that it had a connection.
func trace(ctx context.Context, sent *atomic.Bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
}

// counted reports whether a token is a task token that can be used only so many
// times. Only the server can verify it.
func counted(token string) bool {
	var claims struct {
		jwt.RegisteredClaims
		Uses int `json:"uses"`
	}
	_, _, err := jwt.NewParser().ParseUnverified(token, &claims)
	return err == nil && claims.Uses > 0
}

// changes reports whether the request may change something, if only how often a
// task token can be used.
func (k *call) changes(a attempt) bool {
	read := k.reads || k.resolves || k.method == http.MethodGet || k.method == http.MethodHead
	return !read || a.counted
}

// movesOn reports whether call k may go to another server after attempt a at it
// has failed with err. A call that changes something may only if this server
// has done nothing.
func movesOn(k *call, a attempt, err error) bool {
	var e *Error
	answered := errors.As(err, &e)
	switch {
	case k.one:
		return false
	case !answered && !a.lost:
		return false // not for lack of an answer: another server would not help
	case !answered && !a.sent:
		return true
	case answered && e.own:
		return e.Status == http.StatusServiceUnavailable && (!k.changes(a) || e.hadNoEffect())
	case answered:
		return e.fromGateway() && !k.changes(a)
	}
	return !k.changes(a)
}

// isUnknown reports whether attempt a at call k may have had an effect that no
// answer confirms.
func isUnknown(k *call, a attempt, err error) bool {
	var e *Error
	if errors.As(err, &e) && e.own {
		return errors.Is(e, ErrUnknown)
	}
	return k.changes(a) && a.sent && (a.lost || e != nil && e.fromGateway())
}

// hadNoEffect reports whether a 503 of the store says that the request changed
// nothing. If only the audit line is missing, the text names the effect.
func (e *Error) hadNoEffect() bool {
	return !errors.Is(e, ErrUnknown) && !e.says("; before that, ")
}

// fromGateway reports whether the status is one with which a proxy says that the
// server behind it does not answer.
func (e *Error) fromGateway() bool {
	return e.Status == http.StatusBadGateway || e.Status == http.StatusServiceUnavailable || e.Status == http.StatusGatewayTimeout
}

// atServers makes a call with do: at the server that answered last, and then at
// each of the others while movesOn permits it.
func atServers[T any](ctx context.Context, c *Client, k call, do func(context.Context, *url.URL, call, *attempt) (T, error)) (T, error) {
	servers, first := c.servers, int(c.current.Load())
	if k.one {
		servers, first = c.servers[:1], 0
	}
	var failed []error
	for i := range servers {
		at := (first + i) % len(servers)
		var a attempt
		result, err := do(ctx, servers[at], k, &a)
		named := c.named(servers[at], &k, a, err)
		if err == nil || ctx.Err() != nil || !movesOn(&k, a, err) {
			if !a.lost && !k.one {
				c.current.Store(int32(at))
			}
			return result, named
		}
		failed = append(failed, named)
	}
	var none T
	return none, noServer(failed)
}

// named adds to err which server it is about, if there are several or the
// outcome is unknown.
func (c *Client) named(server *url.URL, k *call, a attempt, err error) error {
	switch {
	case err == nil:
		return nil
	case !k.one && isUnknown(k, a, err):
		return &unknownError{server.String(), err}
	case len(c.servers) > 1:
		return fmt.Errorf("%s: %w", server, err)
	}
	return err
}

// unknownError is the error of a call that may have had its effect.
type unknownError struct {
	server string
	err    error
}

func (u *unknownError) Error() string { return "outcome unknown on " + u.server + ": " + u.err.Error() }

// Is matches ErrUnknown.
func (u *unknownError) Is(target error) bool { return target == ErrUnknown }

// Unwrap returns what happened.
func (u *unknownError) Unwrap() error { return u.err }

// noServerError says why no server answered. It has the properties of one of the
// errors.
type noServerError struct {
	all []error
	is  error
}

// noServer returns the error of a call that failed at all servers, and did nothing
// there.
func noServer(failed []error) error {
	if len(failed) == 1 {
		return failed[0]
	}
	is := failed[0]
	for _, err := range failed[1:] {
		if weight(err) > weight(is) {
			is = err
		}
	}
	return &noServerError{failed, is}
}

// weight orders the errors of several servers by what they mean for the caller.
// A sealed server counts most, for people sealed it, and copies of its secrets
// must not be used. Then those after which the call may succeed soon.
func weight(err error) int {
	var e *Error
	switch answered := errors.As(err, &e); {
	case errors.Is(err, ErrSealed):
		return 3
	case answered && Temporary(err):
		return 2
	case Temporary(err):
		return 1
	}
	return 0
}

func (n *noServerError) Error() string {
	texts := make([]string, len(n.all))
	for i, err := range n.all {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the error that counts.
func (n *noServerError) Unwrap() error { return n.is }
