package api

import (
	"net/http"

	"secretstore/api/audit"
)

// writeAudit writes the line of the request's decision, and before it one for
// each of the others. Requests that need no token have none.
func (s *Server) writeAudit(c *call, rep *reply) error {
	if s.audit == nil || c.open {
		return nil
	}
	e := s.auditEntry(c, rep)
	if len(c.others) > 0 {
		return s.audit.Append(withOthers(c, e, rep)...)
	}
	return s.audit.Append(&e)
}

// auditEntry is the line of an answer.
func (s *Server) auditEntry(c *call, rep *reply) audit.Entry {
	e := audit.Entry{
		Time: c.start.Add(c.waited), RequestID: c.id, UID: c.principal.UID,
		Action: c.decision.Action, Resource: c.decision.Resource, Endpoint: c.endpointName(),
		Outcome: outcomeOf(rep), Status: rep.status, Reason: c.decision.Reason, Remote: c.remote,
	}
	if e.Reason == "" && rep.problem != nil {
		e.Reason = rep.problem.text // refused before there was a decision; a constant
	}
	if c.hasService {
		e.Service = c.service.String()
	} else if svc, bound := c.principal.Service.Get(); bound {
		e.Service = svc.String()
	}
	return e
}

// withOthers returns the lines of a request with several decisions. It takes a
// copy of e, which is not on the heap for all other requests.
func withOthers(c *call, e audit.Entry, rep *reply) []*audit.Entry {
	all := make([]*audit.Entry, 0, len(c.others)+1)
	for _, o := range c.others {
		all = append(all, o.auditEntry(e, rep))
	}
	return append(all, &e)
}

// auditEntry is the line of a decision within a request, which has the line e:
// it tells a secret that is missing from one that is not for the service, which
// the answer does not.
func (r *errandRead) auditEntry(e audit.Entry, rep *reply) *audit.Entry {
	e.Service, e.Action, e.Resource, e.Reason = r.service.String(), r.decision.Action, r.decision.Resource, r.decision.Reason
	switch {
	case !r.decision.Allowed:
		e.Outcome = audit.Denied
	case r.missing:
		e.Outcome, e.Reason = audit.Refused, "the secret does not exist"
	case rep.problem != nil && e.Outcome != audit.Failed:
		e.Outcome = audit.Refused // nothing was delivered, because of another one
	}
	return &e
}

func outcomeOf(rep *reply) audit.Outcome {
	switch p := rep.problem; {
	case p == nil:
		return audit.Allowed
	case p.status == http.StatusUnauthorized || p.status == http.StatusForbidden:
		return audit.Denied
	case p.failed:
		return audit.Failed
	default:
		return audit.Refused
	}
}

// auditable refuses a change beforehand while the audit log is known to be
// out of order: what has happened cannot be refused afterwards.
func (s *Server) auditable() error {
	if s.audit == nil {
		return nil
	}
	if err := s.audit.Probe(); err != nil {
		s.metrics.auditFailures.Inc()
		return &problem{status: http.StatusServiceUnavailable, retry: true, failed: true, cause: err,
			text: textUnaudited + textNoEffect}
	}
	return nil
}

const (
	textUnaudited = "the audit log cannot be written, so nothing is answered: see the server's log"
	textNoEffect  = "; nothing was changed"
)

// unaudited is the answer in place of one whose audit line failed.
func unaudited(c *call, cause error) *problem {
	p := &problem{status: http.StatusServiceUnavailable, failed: true, cause: cause}
	if c.effect == "" {
		p.text, p.retry = textUnaudited+textNoEffect, true
	} else {
		p.text = textUnaudited + "; before that, " + c.effect
	}
	return p
}
