package api

import (
	"errors"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
)

const (
	textQuestionTwice = "uid, action, path and bound may be given once each"
	textBadUID        = "uid is not a user id"
	textBadBound      = "bound is not a service id"
)

// access answers questions about permissions.
type access struct {
	policy func() *acl.Policy
}

// question is what the policy is asked about the request. If the request is a
// question about a user itself, only the user counts here.
func (x *exchange) question() acl.Request {
	q := x.req.question()
	if x.req.ep != nil && x.req.ep.about {
		q = acl.Request{Op: q.Op, Account: x.account()}
	}
	return q
}

// account returns the uid that a request for an explanation is about: the caller,
// unless it says otherwise.
func (x *exchange) account() string {
	if x.req.query.UID.Times == 0 {
		return x.who.principal.UID
	}
	return x.req.query.UID.Value
}

// explain says why a user may do something, or why not.
func (h *access) explain(x *exchange) (answer.Reply, error) {
	asked, err := questionOf(&x.req)
	if err != nil {
		return answer.Reply{}, err
	}
	who := acl.Principal{UID: x.account()}
	if !acl.ValidUID(who.UID) {
		return answer.Reply{}, problem.BadRequest(textBadUID)
	}
	out := wire.Explanation{UID: who.UID, Action: x.req.query.Action.Value, Path: asked.Path.String()}
	if asked.HasService {
		out.Service = asked.Service.String()
	}
	if b := x.req.query.Bound; b.Times > 0 {
		service, err := acl.ParseService(b.Value)
		if err != nil {
			return answer.Reply{}, problem.BadRequest(textBadBound)
		}
		who.Service, out.Bound = acl.BindTo(service), service.String()
	}
	e := h.policy().Explain(who, asked)
	out.Allowed, out.Reason = e.Allowed, e.Reason
	out.Grants, out.Near = reasonsOf(e.Grants), reasonsOf(e.Near)
	for _, m := range e.Missing {
		out.Missing = append(out.Missing, wire.MissingPermission{Resource: m.Resource.String(), Action: m.Action.String()})
	}
	return answer.JSON(out)
}

// reasonsOf describes grants.
func reasonsOf(grants []acl.Because) (all []wire.GrantReason) {
	for _, b := range grants {
		g := wire.GrantReason{
			Resource: b.Grant.ID, Action: b.Grant.Action.String(), Source: sourceName(b.Holder.Source),
			Line: b.Grant.Origin.Line, By: b.Grant.Origin.By, At: b.Grant.Origin.At, Until: b.Grant.Until, Group: b.Holder.Group,
		}
		if g.Group != "" {
			g.Member = &wire.Made{Line: b.Member.Line, By: b.Member.By, At: b.Member.At}
		}
		all = append(all, g)
	}
	return all
}

// whoCan lists who may do something.
func (h *access) whoCan(x *exchange) (answer.Reply, error) {
	asked, err := questionOf(&x.req)
	if err != nil {
		return answer.Reply{}, err
	}
	a := h.policy().WhoCan(asked)
	out := wire.WhoCan{Action: x.req.query.Action.Value, Path: asked.Path.String(), Users: a.Users, Groups: []wire.GroupName{}}
	if out.Users == nil {
		out.Users = []string{}
	}
	for _, g := range a.Groups {
		out.Groups = append(out.Groups, wire.GroupName{Group: g.Group, Source: sourceName(g.Source)})
	}
	for _, b := range a.OnBehalf {
		out.OnBehalf = append(out.OnBehalf, wire.OnBehalf(b))
	}
	if a.HasServices {
		out.Services = a.Services.String()
	}
	return answer.JSON(out)
}

// questionOf reads what a request asks about.
func questionOf(r *request) (acl.Request, error) {
	q := &r.query
	for _, p := range []head.Param{q.UID, q.Action, q.Path, q.Bound} {
		if p.Times > 1 {
			return acl.Request{}, problem.BadRequest(textQuestionTwice)
		}
	}
	asked, err := acl.ParseQuestion(q.Action.Value, q.Path.Value, r.service, r.hasService)
	if err != nil && !errors.Is(err, acl.ErrInvalidPath) {
		err = problem.BadRequest(err.Error())
	}
	return asked, err
}

func sourceName(s acl.Source) string {
	switch s {
	case acl.PolicyFile:
		return wire.SourcePolicyFile
	case acl.ServerFlag:
		return wire.SourceServerFlag
	case acl.Identities:
		return wire.SourceIdentities
	case acl.SuperuserFile:
		return wire.SourceSuperuserFile
	}
	return ""
}
