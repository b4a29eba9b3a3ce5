package acl

import (
	"cmp"
	"slices"
	"strings"
)

// Access is who may do something.
type Access struct {
	// Users are allowed, in order of their ids.
	Users []string
	// Groups have grants that allow it to their members.
	Groups []Holder
	// OnBehalf are the users who are not among Users and may read the secret for
	// some of the services that may have it.
	OnBehalf []OnBehalf
	// Services are those that may have the secret, by the rule of spaces: the one
	// with this id, and all below it; the root service stands for all. They count
	// only if HasServices, which is so for reading a secret.
	Services    Service
	HasServices bool
}

// OnBehalf is a user who may read for services.
type OnBehalf struct {
	UID string
	// Services are ids of services, each perhaps with a trailing *, in order.
	Services []string
}

// WhoCan returns who may do req, in which no service is named. Each uid that it
// returns, and no other one that holds a grant, is allowed by [Policy.Decide].
func (p *Policy) WhoCan(req Request) Access {
	var a Access
	if p == nil || !p.live || req.HasService || !req.valid() {
		return a
	}
	if req.Op == ReadSecret {
		a.Services, a.HasServices = Service{req.Path.Folder().s}, true
	}
	ways := req.ways()
	uids, groups := p.holders()
	for _, uid := range uids {
		if p.Decide(Principal{UID: uid}, req).Allowed {
			a.Users = append(a.Users, uid)
		} else if services := p.rights(uid).servicesIn(req); services != nil {
			a.OnBehalf = append(a.OnBehalf, OnBehalf{uid, services})
		}
	}
	for _, g := range groups {
		if slices.ContainsFunc(ways[:], g.allows) {
			a.Groups = append(a.Groups, g.holder)
		}
	}
	slices.SortFunc(a.Groups, func(a, b Holder) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Source, b.Source)) })
	return a
}

// holders returns all users and groups that may have grants, the users in order.
func (p *Policy) holders() (uids []string, groups []*Grants) {
	if p.other != nil {
		uids, groups = p.other.SecretHolders()
	}
	for uid := range p.users {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return slices.Compact(uids), slices.Concat(groups, p.groups)
}

// servicesIn returns the services for which the user may read the secret of req;
// nil if there are none.
func (r rights) servicesIn(req Request) []string {
	if req.Op != ReadSecret {
		return nil
	}
	var all []string
	add := func(g *Grants) {
		for i := range g.list {
			if s, ok := g.list[i].servicesIn(req.Path); ok {
				all = append(all, s)
			}
		}
	}
	for _, h := range r.here {
		add(h.Grants)
	}
	for _, g := range r.other {
		add(g)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// servicesIn returns the services for which the grant allows to read p, if there
// are any.
func (g *Grant) servicesIn(p Path) (string, bool) {
	pattern, space := g.Pattern, p.Folder().s
	if !pattern.kinds.has(kindResolve) || g.Action != Read && g.Action != Full {
		return "", false
	}
	if !pattern.wild {
		return "/" + pattern.rest, Service{pattern.rest}.MayRead(p)
	}
	// Of the services that begin with rest, is one the space or below it?
	below := space == "" || strings.HasPrefix(space, pattern.rest) || strings.HasPrefix(pattern.rest, space+"/")
	return "/" + pattern.rest + "*", below
}
