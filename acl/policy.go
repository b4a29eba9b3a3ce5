package acl

import "strings"

// Policy holds the grants. It is immutable, so any number of goroutines may use
// one value, and it is replaced as a whole. A nil or zero Policy denies
// everything; [ParsePolicy] and [Policy.WithSuperusers] make one that decides.
type Policy struct {
	live  bool
	users map[string]rights
}

// rights is what one user holds: its own grants and those of its groups. These
// are shared, not copied, so that many members and many grants in a policy file
// cost their sum and not their product.
type rights struct {
	superuser bool
	sets      []*Grants
}

// Grants are those of one user or group, made ready for lookup. Once others share
// a value it must not change. A nil or zero Grants allows nothing.
type Grants struct {
	superuser bool
	exact     map[Resource]actionSet
	wild      []wildGrant
}

type wildGrant struct {
	pattern Pattern
	actions actionSet
}

// WithSuperusers returns a policy in which each of uids also holds
// dcos:superuser. p is unchanged. It may be nil: the result then has no other
// grants, but it decides, so that tokens bound to a service work.
func (p *Policy) WithSuperusers(uids ...string) *Policy {
	n := &Policy{live: true, users: make(map[string]rights)}
	if p != nil {
		for uid, r := range p.users {
			n.users[uid] = r
		}
	}
	for _, uid := range uids {
		r := n.users[uid]
		r.superuser = true
		n.users[uid] = r
	}
	return n
}

// NewGrants returns no grants.
func NewGrants() *Grants { return &Grants{exact: make(map[Resource]actionSet)} }

// Add allows an action on what a pattern covers.
func (g *Grants) Add(p Pattern, a Action) {
	if a >= Create && a <= Full {
		g.add(p, actionSet(0).with(a))
	}
}

func (g *Grants) add(p Pattern, a actionSet) {
	switch {
	case a == 0:
	case p.kinds == 1<<kindSuperuser:
		g.superuser = true // any action on it
	case p.wild:
		g.wild = append(g.wild, wildGrant{p, a})
	default:
		for k := kindSecret; k <= lastKind; k++ {
			if p.kinds.has(k) {
				g.exact[Resource{k, p.rest}] |= a
			}
		}
	}
}

// allows reports whether a grant allows a on res.
func (r rights) allows(res Resource, a Action) bool {
	for _, g := range r.sets {
		if g.exact[res].allows(a) {
			return true
		}
		for i := range g.wild {
			if g.wild[i].actions.allows(a) && g.wild[i].pattern.Matches(res) {
				return true
			}
		}
	}
	return false
}

// allowsList reports whether read is granted on the list of folder p or of one
// of its parents.
func (r rights) allowsList(p Path) bool {
	for s := p.s; ; s = s[:max(0, strings.LastIndexByte(s, '/'))] {
		if r.allows(Resource{kindList, s}, Read) {
			return true
		}
		if s == "" {
			return false
		}
	}
}
