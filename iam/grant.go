package iam

import (
	"slices"
	"time"

	"secretstore/acl"
)

// Holder is the user or the group that a grant is for.
type Holder struct {
	kind Kind
	uid  UID
	gid  GID
}

// OfUser is the user uid.
func OfUser(uid UID) Holder { return Holder{kind: KindUser, uid: uid} }

// OfGroup is the group gid.
func OfGroup(gid GID) Holder { return Holder{kind: KindGroup, gid: gid} }

// ParseAction returns the action s. The error has the code [InvalidAction].
func ParseAction(s string) (acl.Action, error) {
	a, err := acl.ParseAction(s)
	if err != nil {
		return 0, refuse(InvalidAction, "Invalid action: %s", shown(s))
	}
	return a, nil
}

// Grants returns the grants of a holder that are in force: those that have not
// ended, of ACLs that exist. UnknownUserID, UnknownGroupID.
func (d *Directory) Grants(h Holder) ([]Grant, error) {
	all, err := d.stored(h)
	return slices.DeleteFunc(slices.Clone(all), func(g Grant) bool { return !d.inForce(&g) }), err
}

func (d *Directory) inForce(g *Grant) bool {
	a := d.acls[g.RID]
	return a != nil && a.Generation == g.ACL && !g.over(d.now)
}

func (d *Directory) stored(h Holder) ([]Grant, error) {
	switch h.kind {
	case KindUser:
		u, err := d.User(h.uid)
		if err != nil {
			return nil, err
		}
		return u.Grants, nil
	case KindGroup:
		g, err := d.Group(h.gid)
		if err != nil {
			return nil, err
		}
		return g.Grants, nil
	}
	return nil, refuse(InvalidData, "A grant is for a user or a group.")
}

// Grant allows h to do a on a resource, until then if that is not zero.
// UnknownResourceID, UnknownUserID, UnknownGroupID, PermissionExists, InvalidData.
func (d *Directory) Grant(rid RID, h Holder, a acl.Action, until time.Time, by Origin) (Change, error) {
	root, err := d.ACL(rid)
	if err != nil {
		return Change{}, err
	}
	grants, err := d.Grants(h)
	if err != nil {
		return Change{}, err
	}
	if slices.ContainsFunc(grants, func(g Grant) bool { return g.RID == rid && g.Action == a }) {
		return Change{}, refuse(PermissionExists, "%s has action `%s` in ACL for resource `%s` already", h, a, root.Name)
	}
	if len(grants) >= MaxGrants {
		return Change{}, refuse(InvalidData, "%s has %d grants, the most that are possible: grant to a group, or use a trailing *", h, MaxGrants)
	}
	return d.setGrants(h, append(grants, Grant{RID: rid, ACL: root.Generation, Action: a, Origin: by, Until: until}))
}

// Revoke takes one action on a resource away from h. UnknownResourceID,
// UnknownUserID, UnknownGroupID, ActionNotStored, IsSuperuserGroup,
// NoMoreSuperusers.
func (d *Directory) Revoke(rid RID, h Holder, a acl.Action) (Change, error) {
	return d.revoke(rid, h, func(g Grant) bool { return g.Action == a }, func(name string) *Error {
		return refuse(ActionNotStored, "Action `%s` unknown for %s in ACL for resource `%s`", a, h.inText(), name)
	})
}

// RevokeAll takes all actions on a resource away from h. UnknownResourceID,
// UnknownUserID, UnknownGroupID, UserNotInACL, GroupNotInACL, IsSuperuserGroup,
// NoMoreSuperusers.
func (d *Directory) RevokeAll(rid RID, h Holder) (Change, error) {
	return d.revoke(rid, h, func(Grant) bool { return true }, func(name string) *Error { return notInACL(h, name) })
}

func notInACL(h Holder, name string) *Error {
	code := UserNotInACL
	if h.kind == KindGroup {
		code = GroupNotInACL
	}
	return refuse(code, "%s is not part of ACL for resource `%s`", h, name)
}

func (d *Directory) revoke(rid RID, h Holder, which func(Grant) bool, none func(name string) *Error) (Change, error) {
	root, err := d.ACL(rid)
	if err != nil {
		return Change{}, err
	}
	grants, err := d.Grants(h)
	if err != nil {
		return Change{}, err
	}
	left := slices.DeleteFunc(slices.Clone(grants), func(g Grant) bool { return g.RID == rid && which(g) })
	if len(left) == len(grants) {
		return Change{}, none(root.Name)
	}
	if h == OfGroup(Superusers) && rid == Superuser && !slices.ContainsFunc(left, func(g Grant) bool { return g.RID == Superuser && g.Action == acl.Full }) {
		return Change{}, superuserGroup()
	}
	c, err := d.setGrants(h, left)
	if err != nil {
		return Change{}, err
	}
	return d.check(c)
}

// setGrants gives a holder that exists other grants.
func (d *Directory) setGrants(h Holder, grants []Grant) (Change, error) {
	if h.kind == KindUser {
		return d.editUser(h.uid, func(u *User) error {
			u.Grants = grants
			return nil
		})
	}
	g := *d.groups[h.gid].Group
	g.Grants = grants
	return Change{Put: []Entry{&g}}, nil
}

// String returns the holder as errors of DC/OS name it at their beginning.
func (h Holder) String() string {
	if h.kind == KindGroup {
		return "Group `" + string(h.gid) + "`"
	}
	return "User `" + string(h.uid) + "`"
}

// inText is String within a sentence.
func (h Holder) inText() string {
	if h.kind == KindGroup {
		return "group `" + string(h.gid) + "`"
	}
	return "user `" + string(h.uid) + "`"
}
