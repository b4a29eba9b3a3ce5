package api

import (
	"cmp"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"secretstore/api/audit"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/batch"
	"secretstore/api/internal/problem"
)

const (
	textUnaudited = "the audit log cannot be written, so nothing is answered: see the server's log"
	textNoEffect  = "; nothing was changed"
)

// auditor writes the audit log.
type auditor struct {
	log      *audit.Log // nil: none is written
	changes  []string   // the names of the endpoints that change something
	failures prometheus.Counter
	duration prometheus.Histogram
}

// ready refuses a change beforehand while the audit log is known to fail: it
// could not be refused after it has happened.
func (a *auditor) ready() error {
	if a.log == nil {
		return nil
	}
	if err := a.log.Probe(); err != nil {
		a.failures.Inc()
		return &problem.Problem{Status: http.StatusServiceUnavailable, Retry: true, Failed: true, Cause: err, Text: textUnaudited + textNoEffect}
	}
	return nil
}

// fault returns what is wrong with the audit log, or nil. A log that failed is
// tried again.
func (a *auditor) fault() error {
	if a.log == nil {
		return nil
	}
	if err := a.log.Probe(); err != nil {
		return err
	}
	return a.log.Fault()
}

// write writes the line of the request's decision, after one for each of the
// reads of a batch. Open endpoints have none, not even for a 405: anybody may
// call them, and they answer while the audit log cannot be written.
func (a *auditor) write(x *exchange, rep *answer.Reply) error {
	if a.log == nil || x.req.unaudited() {
		return nil
	}
	e := entryOf(x, rep)
	lines := make([]*audit.Entry, 0, len(x.out.reads)+1)
	for _, r := range x.out.reads {
		lines = append(lines, entryOfRead(r, e, rep))
	}
	began := time.Now()
	err := a.log.Append(append(lines, &e)...)
	a.duration.Observe(time.Since(began).Seconds())
	return err
}

// failed returns the answer in place of one whose audit line could not be
// written.
func (a *auditor) failed(x *exchange, cause error) *problem.Problem {
	a.failures.Inc()
	p := &problem.Problem{Status: http.StatusServiceUnavailable, Failed: true, Cause: cause}
	if x.out.effect == "" {
		p.Text, p.Retry = textUnaudited+textNoEffect, true
	} else {
		p.Text = textUnaudited + "; before that, " + x.out.effect
	}
	return p
}

// streamEnded writes a second line, for the end of a stream.
func (a *auditor) streamEnded(x *exchange, reason string, denied bool) {
	if a.log == nil {
		return
	}
	e := entryOf(x, &answer.Reply{Status: http.StatusOK})
	e.Reason = reason
	if denied {
		e.Outcome = audit.Denied
	}
	if a.log.Append(&e) != nil {
		a.failures.Inc()
	}
}

// entryOf returns the line of an answer.
func entryOf(x *exchange, rep *answer.Reply) audit.Entry {
	e := audit.Entry{
		Time: x.req.start.Add(x.out.waited), RequestID: x.req.id, Traceparent: x.req.trace, UID: x.who.principal.UID,
		Action: x.who.decision.Action, Resource: x.who.decision.Resource, Endpoint: x.req.endpointName(),
		Outcome: outcomeOf(x, rep), Status: rep.Status, Reason: x.who.decision.Reason, Remote: x.req.remote,
		Object: cmp.Or(x.out.about, x.req.names.Name()),
	}
	if e.Reason == "" && rep.Problem != nil {
		e.Reason = rep.Problem.Text // refused before there was a decision; a constant
	}
	if x.who.asked.HasService {
		e.Service = x.who.asked.Service.String()
	} else if svc, bound := x.who.principal.Service.Get(); bound {
		e.Service = svc.String()
	}
	return e
}

// entryOfRead returns the line of one read of a batch whose own line is e.
// Unlike the answer, it tells a missing secret from one that the service may
// not have.
func entryOfRead(r *batch.Read, e audit.Entry, rep *answer.Reply) *audit.Entry {
	e.Service, e.Action, e.Resource, e.Reason = r.Service.String(), r.Decision.Action, r.Decision.Resource, r.Decision.Reason
	if r.Decision.Allowed && r.Missing {
		e.Reason = "the secret does not exist"
	}
	e.Outcome = outcomeOfRead(r, e.Outcome, rep)
	return &e
}

// outcomeOfRead is how one read of a batch ended, whose own outcome is whole.
func outcomeOfRead(r *batch.Read, whole audit.Outcome, rep *answer.Reply) audit.Outcome {
	switch {
	case !r.Decision.Allowed:
		return audit.Denied
	case r.Missing:
		return audit.Refused
	case rep.Problem != nil && whole != audit.Failed:
		return audit.Refused // nothing was delivered, because of another secret
	}
	return whole
}

func outcomeOf(x *exchange, rep *answer.Reply) audit.Outcome {
	switch p := rep.Problem; {
	case p == nil:
		return audit.Allowed
	case p.Status == http.StatusTooManyRequests && x.who.principal.UID == "":
		return audit.Denied // one of too many without a valid token
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		return audit.Denied
	case p.Failed:
		return audit.Failed
	default:
		return audit.Refused
	}
}
