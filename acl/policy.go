package acl

import (
	"slices"
	"strings"
)

// Policy holds the grants. It is immutable, so any number of goroutines may use
// one value, and it is replaced as a whole. A nil or zero Policy denies
// everything; [ParsePolicy], [Policy.WithSuperusers] and [Policy.WithGrants]
// make one that decides.
type Policy struct {
	live   bool
	users  map[string][]held
	groups []*Grants // of the policy file, in its order
	other  Grantor   // nil: there are no other grants
}

// held is a set of grants that a user has: its own, or those of a group. Members
// share the grants of their group, so that many members and many grants in a
// policy file cost their sum and not their product.
type held struct {
	*Grants
	member Origin // of the membership
}

// Grantor knows grants besides those of the policy file. A Grantor never
// changes: what it answers is the same each time.
type Grantor interface {
	// SecretGrants returns the grants that a user has, its own and those of its
	// groups; none for a uid that it does not know.
	SecretGrants(uid string) []*Grants
	// MemberSince says who made a user a member of a group that it is in, and
	// when.
	MemberSince(uid, group string) Origin
	// SecretHolders returns the users whom it knows, and the groups that have
	// grants.
	SecretHolders() (uids []string, groups []*Grants)
}

// WithSuperusers returns a policy in which each of uids also holds
// dcos:superuser. p is unchanged. It may be nil: the result then has no other
// grants, but it decides, so that tokens bound to a service work.
func (p *Policy) WithSuperusers(uids ...string) *Policy {
	n := p.copy()
	n.users = make(map[string][]held, len(uids))
	if p != nil {
		for uid, sets := range p.users {
			n.users[uid] = sets
		}
	}
	for _, uid := range uids {
		// Capped, so that the old policy keeps its own.
		sets := n.users[uid]
		n.users[uid] = append(sets[:len(sets):len(sets)], held{Grants: superuserByFlag})
	}
	return n
}

var superuserByFlag = NewGrants(Holder{Source: ServerFlag}, Grant{ID: superuserID, Pattern: Pattern{kinds: 1 << kindSuperuser}, Action: Full})

// Names reports whether the policy names a user: it has grants, is in a group, or is
// a superuser. What an IAM grants besides does not count.
func (p *Policy) Names(uid string) bool {
	if p == nil {
		return false
	}
	_, ok := p.users[uid]
	return ok
}

// WithGrants returns a policy in which each user has the grants of g besides
// those in p. p is unchanged. It may be nil, as in [Policy.WithSuperusers]. Only
// references are copied: it costs the same for any number of users.
func (p *Policy) WithGrants(g Grantor) *Policy {
	n := p.copy()
	n.other = g
	return n
}

func (p *Policy) copy() *Policy {
	n := &Policy{live: true}
	if p != nil {
		n.users, n.groups, n.other = p.users, p.groups, p.other
	}
	return n
}

// rights is what one user has: in the policy file and by flags, and elsewhere.
type rights struct {
	here  []held
	other []*Grants
}

func (p *Policy) rights(uid string) rights {
	r := rights{here: p.users[uid]}
	if p.other != nil {
		r.other = p.other.SecretGrants(uid)
	}
	return r
}

// some reports whether the user has any grants.
func (r rights) some() bool { return len(r.here)+len(r.other) > 0 }

// allows reports whether a grant satisfies w.
func (r rights) allows(w way) bool {
	if w.res.kind == kindSuperuser {
		return r.any((*Grants).isSuperuser)
	}
	return w.res.folders(func(res Resource) bool {
		rest := hashed{text: res.rest, few: len(r.here)+len(r.other) <= fewSets}
		return r.any(func(g *Grants) bool { return g.allow(w.action, res.kind, &rest) })
	})
}

// any reports whether have is true of one of the sets of grants.
func (r rights) any(have func(*Grants) bool) bool {
	for i := range r.here {
		if have(r.here[i].Grants) {
			return true
		}
	}
	return slices.ContainsFunc(r.other, have)
}

// someBelow reports whether a grant allows an action on something of a kind below a
// folder.
func (r rights) someBelow(folder Path, k kind, a Action) bool {
	return r.any(func(g *Grants) bool { return g.someBelow(folder, k, a) })
}

// folders calls visit for the resource r and, if it is the list of a folder, for
// the lists of the folder's parents, which include it, until visit returns true.
// It reports whether it did.
func (r Resource) folders(visit func(Resource) bool) bool {
	for {
		if visit(r) {
			return true
		}
		if r.kind != kindList || r.rest == "" {
			return false
		}
		r.rest = r.rest[:max(0, strings.LastIndexByte(r.rest, '/'))]
	}
}
