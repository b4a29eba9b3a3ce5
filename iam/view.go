package iam

import "slices"

// MembershipsOf returns the memberships of u in groups that exist.
func (d *Directory) MembershipsOf(u *User) []Membership {
	return slices.DeleteFunc(slices.Clone(u.Groups), func(m Membership) bool {
		g := d.groups[m.GID]
		return g == nil || g.Generation != m.Group
	})
}

// GrantsOn returns the grants of h on a resource that are in force, at least one.
// UnknownResourceID, UnknownUserID, UnknownGroupID, UserNotInACL, GroupNotInACL.
func (d *Directory) GrantsOn(rid RID, h Holder) ([]Grant, error) {
	root, err := d.ACL(rid)
	if err != nil {
		return nil, err
	}
	grants, err := d.Grants(h)
	if err != nil {
		return nil, err
	}
	grants = slices.DeleteFunc(grants, func(g Grant) bool { return g.RID != rid })
	if len(grants) == 0 {
		return nil, notInACL(h, root.Name)
	}
	return grants, nil
}

// Holders returns the users and groups with grants on a resource, in order.
func (d *Directory) Holders(rid RID) (users []*User, groups []*Group) {
	holds := func(r *rights) bool { return r.exact[rid] != 0 }
	for _, u := range d.Users() {
		if a := d.users[u.UID]; a != nil && a.Exists() && holds(&a.rights) {
			users = append(users, u)
		}
	}
	for _, g := range d.Groups() {
		if holds(&d.groups[g.GID].rights) {
			groups = append(groups, g)
		}
	}
	return users, groups
}
