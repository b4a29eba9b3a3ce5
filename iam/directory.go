package iam

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"secretstore/acl"
)

// Superusers is the group whose members are superusers, as in DC/OS.
const Superusers GID = "superusers"

// Directory is all entries at one moment. It is immutable: any number of
// goroutines may use one value, and a change makes another. The zero value is
// empty, and allows nothing.
//
// It has many methods because each question and each change of the IAM of DC/OS is
// one of them. All are pure functions of the directory, in files by subject.
type Directory struct {
	users  map[UID]*account
	groups map[GID]*group
	acls   map[RID]*ACL
	// bootstrap are the superusers that a file names; see WithBootstrap.
	bootstrap map[UID]Generation
	lost      func(UID) bool // see WithLost; may be nil
	now       time.Time      // grants that have ended by then do not count
	nextEnd   time.Time      // when the first of the others ends; zero if none does
}

// account is a user with what its own grants allow.
type account struct {
	*User
	rights rights
}

// group is a group with what its grants allow.
type group struct {
	*Group
	rights rights
}

// rights are the grants of one user or group whose ACLs exist, made ready for
// decisions. They are shared and never change.
type rights struct {
	superuser bool
	lasting   bool        // superuser by a grant without an end
	secrets   *acl.Grants // on resources of the secret store; nil if there are none
	exact     map[RID]actions
	wild      []wildGrant // in the order of their prefixes
}

type wildGrant struct {
	rid     RID
	actions actions
}

// actions is a set of actions, one bit each.
type actions uint8

func (s actions) allows(a acl.Action) bool { return s&(1<<a|1<<acl.Full) != 0 }

// With returns the directory in which each of entries replaces the one with its
// id, and those of removed are gone.
func (d *Directory) With(entries []Entry, removed ...EntryID) *Directory {
	n := d.clone()
	stale := make(map[RID]bool) // resources whose ACL has changed
	for _, id := range removed {
		switch id.Kind {
		case KindUser:
			delete(n.users, UID(id.Name))
		case KindGroup:
			delete(n.groups, GID(id.Name))
		case KindACL:
			for rid := range n.acls {
				if rid.canonical == id.Name {
					delete(n.acls, rid)
					stale[rid] = true
				}
			}
		}
	}
	for _, e := range entries {
		if a, ok := e.(*ACL); ok {
			if old := n.acls[a.RID]; old == nil || old.Generation != a.Generation {
				stale[a.RID] = true
			}
			n.acls[a.RID] = a
		}
	}
	for _, e := range entries {
		switch e := e.(type) {
		case *User:
			n.users[e.UID] = &account{e, n.rightsOf(acl.Holder{Source: acl.Identities}, e.Grants)}
		case *Group:
			n.groups[e.GID] = &group{e, n.rightsOf(e.holder(), e.Grants)}
		}
	}
	if len(stale) > 0 {
		n.renew(func(grants []Grant) bool {
			return slices.ContainsFunc(grants, func(g Grant) bool { return stale[g.RID] })
		})
	}
	return n
}

// WithBootstrap returns the directory in which the superusers that a file names
// are these, and no others. [FileIdentity] makes them. An account of such a uid
// has its grants and memberships besides, and cannot be changed.
func (d *Directory) WithBootstrap(superusers ...Identity) *Directory {
	n := d.clone()
	n.bootstrap = make(map[UID]Generation, len(superusers))
	for _, s := range superusers {
		n.bootstrap[s.UID] = s.Generation
	}
	return n
}

// WithLost returns the directory that knows of accounts whose records are lost:
// lost reports whether there may have been one. It must be safe for concurrent use.
func (d *Directory) WithLost(lost func(UID) bool) *Directory {
	n := *d
	n.lost = lost
	return &n
}

// OfFile reports whether a file names uid as a superuser.
func (d *Directory) OfFile(uid UID) bool {
	_, ok := d.bootstrap[uid]
	return ok
}

// fromFile returns what users see of a superuser that a file names.
func (d *Directory) fromFile(uid UID) *User {
	u := User{UID: uid, Description: "Bootstrap superuser", Provider: Provider{Type: Internal}, Generation: d.bootstrap[uid]}
	if of := d.users[uid]; of != nil && of.Exists() {
		u.Made, u.Grants, u.Groups = of.Made, of.Grants, of.Groups
	}
	if g := d.groups[Superusers]; g != nil && !u.isIn(g.Group) {
		u.Groups = append(slices.Clone(u.Groups), Membership{GID: Superusers, Group: g.Generation})
	}
	return &u
}

// At returns the directory in which grants that have ended by now do not count.
// It is to be called at [Directory.NextEnd].
func (d *Directory) At(now time.Time) *Directory {
	n := d.clone()
	n.now, n.nextEnd = now, time.Time{}
	n.renew(func(grants []Grant) bool {
		return slices.ContainsFunc(grants, func(g Grant) bool { return !g.Until.IsZero() })
	})
	return n
}

// NextEnd returns when the next grant ends; zero if none does.
func (d *Directory) NextEnd() time.Time { return d.nextEnd }

func (d *Directory) clone() *Directory {
	n := *d
	n.users, n.groups, n.acls = cloneMap(d.users), cloneMap(d.groups), cloneMap(d.acls)
	return &n
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return make(map[K]V)
	}
	return maps.Clone(m)
}

// renew recomputes the rights of all whose grants are affected.
func (d *Directory) renew(affected func([]Grant) bool) {
	for uid, u := range d.users {
		if affected(u.Grants) {
			d.users[uid] = &account{u.User, d.rightsOf(acl.Holder{Source: acl.Identities}, u.Grants)}
		}
	}
	for gid, g := range d.groups {
		if affected(g.Grants) {
			d.groups[gid] = &group{g.Group, d.rightsOf(g.holder(), g.Grants)}
		}
	}
}

// rightsOf returns what the grants of a user or a group allow: those that have
// not ended, of ACLs that exist.
func (d *Directory) rightsOf(of acl.Holder, grants []Grant) rights {
	r := rights{exact: make(map[RID]actions)}
	var secrets []acl.Grant
	byRID := make(map[RID]actions)
	for i := range grants {
		g := &grants[i]
		a := d.acls[g.RID]
		if a == nil || a.Generation != g.ACL || g.Action < acl.Create || g.Action > acl.Full || g.over(d.now) {
			continue
		}
		if !g.Until.IsZero() && (d.nextEnd.IsZero() || g.Until.Before(d.nextEnd)) {
			d.nextEnd = g.Until
		}
		byRID[g.RID] |= 1 << g.Action
		r.lasting = r.lasting || g.RID == Superuser && g.Until.IsZero()
		if p, ok := g.RID.Pattern(); ok {
			secrets = append(secrets, acl.Grant{ID: g.RID.canonical, Pattern: p, Action: g.Action, Origin: g.Origin.secret(), Until: g.Until})
		}
	}
	if secrets != nil {
		r.secrets = acl.NewGrants(of, secrets...)
	}
	for rid, set := range byRID {
		r.superuser = r.superuser || rid == Superuser
		r.exact[rid] = set
		if rid.wild() {
			r.wild = append(r.wild, wildGrant{rid, set})
		}
	}
	slices.SortFunc(r.wild, func(a, b wildGrant) int { return cmp.Compare(a.rid.canonical, b.rid.canonical) })
	return r
}

// allows reports whether a grant allows a on a resource that is not of the secret
// store.
func (r *rights) allows(rid RID, a acl.Action) bool {
	if r.exact[rid].allows(a) {
		return true
	}
	return slices.ContainsFunc(r.wild, func(g wildGrant) bool { return g.actions.allows(a) && g.rid.covers(rid) })
}

// each calls visit with the rights of a user and of each of its groups, until
// visit returns false. An account that was deleted has none.
func (d *Directory) each(uid UID, visit func(*rights) bool) {
	u := d.users[uid]
	if u == nil || !u.Exists() {
		return
	}
	if !visit(&u.rights) {
		return
	}
	for i := range u.Groups {
		if g := d.groups[u.Groups[i].GID]; g != nil && g.Generation == u.Groups[i].Group && !visit(&g.rights) {
			return
		}
	}
}

// IsSuperuser reports whether uid holds any action on dcos:superuser, or is named
// by the file.
func (d *Directory) IsSuperuser(uid UID) bool {
	if d.OfFile(uid) {
		return true
	}
	super := false
	d.each(uid, func(r *rights) bool { super = r.superuser; return !super })
	return super
}

// secretsPrefix begins the resources of the secret store.
const secretsPrefix = "dcos:secrets:"

// Allows reports whether uid may do a on a resource that is not of the secret
// store: by an exact grant or one with a trailing *. Resources of the secret store
// are for package acl to decide, with [Directory.SecretGrants].
func (d *Directory) Allows(uid UID, rid RID, a acl.Action) bool {
	if rid == (RID{}) || a < acl.Create || a > acl.Full {
		return false
	}
	if d.IsSuperuser(uid) {
		return true
	}
	if strings.HasPrefix(rid.canonical, secretsPrefix) {
		return false
	}
	allowed := false
	d.each(uid, func(r *rights) bool { allowed = r.allows(rid, a); return !allowed })
	return allowed
}

// User returns an account that exists, or a superuser that the file names; else an
// error with the code [UnknownUserID].
func (d *Directory) User(uid UID) (*User, error) {
	if d.OfFile(uid) {
		return d.fromFile(uid), nil
	}
	if u := d.users[uid]; u != nil && u.Exists() {
		return u.User, nil
	}
	return nil, unknownUser(uid)
}

// Known reports whether uid has or may have had an account, or is named by the file:
// tokens of other issuers do not stand for it.
func (d *Directory) Known(uid UID) bool {
	return d.users[uid] != nil || d.OfFile(uid) || d.lost != nil && d.lost(uid)
}

// Identity returns who uid is now. ok says that the file names it, or that the
// account exists. For a uid with both the file counts.
func (d *Directory) Identity(uid UID) (who Identity, ok bool) {
	if g, ok := d.bootstrap[uid]; ok {
		return Identity{uid, g}, true
	}
	if u := d.users[uid]; u != nil && u.Exists() {
		return Identity{uid, u.Generation}, true
	}
	return Identity{}, false
}

// Group returns a group, or an error with the code [UnknownGroupID].
func (d *Directory) Group(gid GID) (*Group, error) {
	if g := d.groups[gid]; g != nil {
		return g.Group, nil
	}
	return nil, unknownGroup(gid)
}

// ACL returns the ACL of a resource, or an error with the code
// [UnknownResourceID].
func (d *Directory) ACL(rid RID) (*ACL, error) {
	if a := d.acls[rid]; a != nil {
		return a, nil
	}
	return nil, unknownResource(rid)
}

// Users returns the accounts that exist and the superusers that the file names,
// ordered by uid.
func (d *Directory) Users() []*User {
	var all []*User
	for uid, u := range d.users {
		if u.Exists() && !d.OfFile(uid) {
			all = append(all, u.User)
		}
	}
	for uid := range d.bootstrap {
		all = append(all, d.fromFile(uid))
	}
	slices.SortFunc(all, func(a, b *User) int { return cmp.Compare(a.UID, b.UID) })
	return all
}

// Groups returns the groups, ordered by gid.
func (d *Directory) Groups() []*Group {
	all := make([]*Group, 0, len(d.groups))
	for _, g := range d.groups {
		all = append(all, g.Group)
	}
	slices.SortFunc(all, func(a, b *Group) int { return cmp.Compare(a.GID, b.GID) })
	return all
}

// ACLs returns the ACLs, ordered by rid.
func (d *Directory) ACLs() []*ACL {
	all := slices.Collect(maps.Values(d.acls))
	slices.SortFunc(all, func(a, b *ACL) int { return cmp.Compare(a.RID.canonical, b.RID.canonical) })
	return all
}

// Members returns the users in a group, ordered by uid.
func (d *Directory) Members(gid GID) []*User {
	g := d.groups[gid]
	if g == nil {
		return nil
	}
	return slices.DeleteFunc(d.Users(), func(u *User) bool { return !u.isIn(g.Group) })
}

func (u *User) isIn(g *Group) bool {
	return slices.ContainsFunc(u.Groups, func(m Membership) bool { return m.GID == g.GID && m.Group == g.Generation })
}

// hasSuperuser reports whether any account or uid of the file is a superuser.
func (d *Directory) hasSuperuser() bool {
	return d.anySuperuser(func(r *rights) bool { return r.superuser })
}

// hasLastingSuperuser reports whether any account is a superuser by a grant without
// an end, or the file names one.
func (d *Directory) hasLastingSuperuser() bool {
	return d.anySuperuser(func(r *rights) bool { return r.lasting })
}

// anySuperuser reports whether the rights of any account satisfy is, or the file
// names a superuser.
func (d *Directory) anySuperuser(is func(*rights) bool) bool {
	if len(d.bootstrap) > 0 {
		return true
	}
	for uid := range d.users {
		found := false
		d.each(uid, func(r *rights) bool { found = is(r); return !found })
		if found {
			return true
		}
	}
	return false
}
