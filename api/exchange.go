package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/api/internal/acs"
	"secretstore/api/internal/batch"
	"secretstore/api/internal/body"
	"secretstore/api/internal/head"
	"secretstore/api/internal/monitor"
	"secretstore/api/internal/problem"
	"secretstore/seal"
	"secretstore/store"
)

// exchange is one request being answered: what is asked, by whom, and what has
// come of it so far. It belongs to the goroutine that serves the request.
type exchange struct {
	w    http.ResponseWriter
	body *body.Body
	req  request
	who  caller
	out  outcome
	// content is the body, if the endpoint takes one, and release gives its part
	// of the budget back. releaseBody drops both.
	content []byte
	release func()
}

// releaseBody overwrites the body, which may hold a share or a value, and gives
// its part of the budget back. An endpoint that has decoded its body and keeps
// no part of it calls this before it waits for the storage, so that other bodies
// can be read meanwhile. Otherwise the server calls it at the end. Further calls
// do nothing.
func (x *exchange) releaseBody() {
	clear(x.content)
	if x.release != nil {
		x.release()
	}
	x.content, x.release = nil, nil
}

// request is what is asked. Nothing of it changes once the server has begun to
// answer.
type request struct {
	*http.Request
	id     string
	trace  string // traceparent of the client; "" without a valid one
	start  time.Time
	remote string // address of the client
	// twoLengths: it has both Transfer-Encoding and Content-Length.
	twoLengths bool

	open  bool      // the path is one of the open endpoints, whatever the method
	ep    *endpoint // nil: there is no such endpoint
	query head.Query
	path  acl.Path   // of the secret, or of the folder
	names acs.Target // what is named of the IAM
	// service is the service on whose behalf the caller asks, or the one that a
	// task token is for, if hasService.
	service    acl.Service
	hasService bool
	// conditions and form (wire.TypeJSON or wire.TypeBinary) are those of a
	// write.
	conditions head.Conditions
	form       string
	// task is what the body of a request for a task token asks for.
	task taskRequest
}

// caller is who asks, and what was decided about it.
type caller struct {
	principal acl.Principal
	task      *token.Task // the task token that it sent, or nil
	asked     acl.Request // what the policy was asked
	decision  acl.Decision
}

// outcome is what the server has done for a request, besides its answer.
type outcome struct {
	// effect says what was done to the store, for a client that does not get
	// the usual answer; "" is nothing.
	effect string
	// about is what the audit log calls the object of the request, if its path
	// does not say it.
	about string
	// reads are the decisions about single secrets; each has an audit line.
	reads []*batch.Read
	// waited is how long the request waited for a change.
	waited time.Duration
	// noDeadline: the deadlines of the connection were lifted.
	noDeadline bool
	// cleanups run when the answer has been sent, or given up.
	cleanups []func()
}

// readOnly reports whether the request cannot have had an effect.
func (r *request) readOnly() bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.ep != nil && r.ep.reads
}

// unaudited reports whether the request is answered without an audit line.
func (r *request) unaudited() bool { return r.open && (r.ep == nil || !r.ep.audited) }

func (r *request) endpointName() string {
	if r.ep == nil {
		return monitor.NoEndpoint
	}
	return r.ep.name
}

// question is what the policy is asked about the request.
func (r *request) question() acl.Request {
	q := acl.Request{Path: r.path, Service: r.service, HasService: r.hasService, Account: r.names.UID}
	if r.ep != nil {
		q.Op = r.ep.op
	}
	return q
}

// problemOf is problem.Of, except that a read which ended because its client
// left is not the server's failure.
func (r *request) problemOf(err error) *problem.Problem {
	p := problem.Of(err)
	if r.readOnly() && r.Context().Err() != nil {
		gone := *p
		gone.Failed = false
		p = &gone
	}
	return p
}

// note remembers what a change did to the store.
func (o *outcome) note(err error, effect string) {
	switch {
	case err == nil, errors.Is(err, seal.ErrSealNotRecorded):
		o.effect = effect
	case errors.Is(err, store.ErrOutcomeUnknown):
		o.effect = "a write was sent whose outcome is unknown"
	}
}

// atEnd has f called when the answer has been sent, or given up.
func (o *outcome) atEnd(f func()) { o.cleanups = append(o.cleanups, f) }

// end calls them, the last one first.
func (o *outcome) end() {
	for _, f := range slices.Backward(o.cleanups) {
		f()
	}
}

// liftDeadlines is for a request that waits: net/http counts the time of the
// handler, and would end it.
func (x *exchange) liftDeadlines() {
	x.out.noDeadline = true
	ctl := http.NewResponseController(x.w)
	_ = ctl.SetReadDeadline(time.Time{}) // a writer without deadlines has none to lift
	_ = ctl.SetWriteDeadline(time.Time{})
}

const (
	// storageTime is how long a request waits for the storage, so that one that
	// hangs is a 503 within five seconds. Values larger than largeValue get
	// more time, at these rates in bytes a second.
	storageTime = 4500 * time.Millisecond
	largeValue  = 1 << 20
	writeRate   = 2 << 20
	readRate    = 16 << 20
)

// readContext bounds a read, whose size is not known beforehand. It ends when
// the client leaves.
func readContext(x *exchange, from *seal.Store) (context.Context, context.CancelFunc) {
	return context.WithTimeout(x.req.Context(), storageAllowance(from.MaxSecretSize(), readRate))
}

// writeContext bounds a write. It does not end when the client leaves: the
// write may be on its way, and the audit line should say how it ended.
func writeContext(x *exchange, size int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(x.req.Context()), storageAllowance(int64(size), writeRate))
}

func storageAllowance(size, rate int64) time.Duration {
	extra := float64(max(0, size-largeValue)) / float64(rate)
	return storageTime + time.Duration(extra*float64(time.Second))
}
