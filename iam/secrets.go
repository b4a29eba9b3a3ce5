package iam

import "secretstore/acl"

// A Directory is an [acl.Grantor]: it adds to the policy what was granted on
// resources of the secret store.
var _ acl.Grantor = (*Directory)(nil)

// SecretGrants returns what was granted to uid, and to its groups, on resources
// of the secret store.
func (d *Directory) SecretGrants(uid string) []*acl.Grants {
	if d == nil {
		return nil
	}
	var all []*acl.Grants
	if u := d.users[UID(uid)]; u != nil {
		all = make([]*acl.Grants, 0, len(u.Groups)+2)
	}
	d.each(UID(uid), func(r *rights) bool {
		if r.secrets != nil {
			all = append(all, r.secrets)
		}
		return true
	})
	if d.OfFile(UID(uid)) {
		all = append(all, ofSuperuserFile)
	}
	return all
}

var ofSuperuserFile = func() *acl.Grants {
	p, _ := Superuser.Pattern()
	return acl.NewGrants(acl.Holder{Source: acl.SuperuserFile}, acl.Grant{ID: Superuser.canonical, Pattern: p, Action: acl.Full})
}()

// MemberSince says who made a user a member of a group that it is in, and when.
func (d *Directory) MemberSince(uid, gid string) acl.Origin {
	u, g := d.users[UID(uid)], d.groups[GID(gid)]
	if u == nil || g == nil {
		return acl.Origin{}
	}
	for _, m := range u.Groups {
		if m.GID == g.GID && m.Group == g.Generation {
			return m.Origin.secret()
		}
	}
	return acl.Origin{}
}

// SecretHolders returns the users that exist, and the groups that have grants on
// resources of the secret store.
func (d *Directory) SecretHolders() (uids []string, groups []*acl.Grants) {
	if d == nil {
		return nil, nil
	}
	for uid, u := range d.users {
		if u.Exists() {
			uids = append(uids, string(uid))
		}
	}
	for uid := range d.bootstrap {
		if !d.users[uid].exists() {
			uids = append(uids, string(uid))
		}
	}
	for _, g := range d.groups {
		if g.rights.secrets != nil {
			groups = append(groups, g.rights.secrets)
		}
	}
	return uids, groups
}

func (a *account) exists() bool { return a != nil && a.User.Exists() }

// holder names the group in explanations of decisions.
func (g *Group) holder() acl.Holder { return acl.Holder{Source: acl.Identities, Group: string(g.GID)} }

// secret returns the origin in the words of package acl.
func (o Origin) secret() acl.Origin { return acl.Origin{By: string(o.By), At: o.At} }
