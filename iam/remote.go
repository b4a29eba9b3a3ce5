package iam

import "slices"

// Bound returns the account that is subject of issuer: it has signed in with it
// before. It returns nil if there is none.
func (d *Directory) Bound(issuer, subject string) *User {
	if issuer == "" || subject == "" {
		return nil
	}
	for uid, u := range d.users {
		if u.Exists() && !d.OfFile(uid) && u.Provider.Type == OIDC && u.Provider.Issuer == issuer && u.Provider.Subject == subject {
			return u.User
		}
	}
	return nil
}

// HasPeople reports whether there is an account of a person. Superusers of the
// file and service accounts do not count.
func (d *Directory) HasPeople() bool {
	for _, u := range d.users {
		if u.Exists() && !u.IsService() {
			return true
		}
	}
	return false
}

// SignInRemote records a sign-in with the provider of an account: who the account
// is there, if that is not known yet, and groups, which replace the memberships that
// follow from claims. Groups that do not exist, and those that make superusers, do
// not count. The last superuser keeps its groups. The change is empty if nothing is new.
// UnknownUserID, InvalidData.
func (d *Directory) SignInRemote(uid UID, issuer, subject string, groups []GID, by Origin) (Change, error) {
	now, err := d.editable(uid)
	if err != nil {
		return Change{}, err
	}
	u := *now
	if err := d.signedInRemote(&u, issuer, subject, groups, by); err != nil {
		return Change{}, err
	}
	if _, err := d.check(Change{Put: []Entry{&u}}); err != nil {
		u.Groups = now.Groups // or the last superuser could not sign in
	}
	if u.Provider == now.Provider && slices.Equal(u.Groups, now.Groups) {
		return Change{}, nil
	}
	return Change{Put: []Entry{&u}}, nil
}

// CreateRemoteUser makes an account that signs in for the first time; see
// [Directory.CreateUser] and [Directory.SignInRemote]. UserExists, InvalidData.
func (d *Directory) CreateRemoteUser(u User, issuer, subject string, groups []GID, by Origin) (Change, error) {
	c, err := d.CreateUser(u, by)
	if err != nil {
		return Change{}, err
	}
	if err := d.signedInRemote(c.Put[0].(*User), issuer, subject, groups, by); err != nil {
		return Change{}, err
	}
	return c, nil
}

// signedInRemote changes u, whose lists may be shared.
func (d *Directory) signedInRemote(u *User, issuer, subject string, groups []GID, by Origin) error {
	p := &u.Provider
	if p.Type != OIDC || issuer == "" || subject == "" || p.Subject != "" && (p.Issuer != issuer || p.Subject != subject) {
		return refuse(InvalidData, "User `%s` is not an account of this provider and subject.", u.UID)
	}
	p.Issuer, p.Subject = issuer, subject
	var left []Membership
	for _, m := range u.Groups {
		if !m.Mapped || slices.Contains(groups, m.GID) && d.mappable(m.GID) && u.isIn(d.groups[m.GID].Group) {
			left = append(left, m)
		}
	}
	u.Groups = left
	for _, gid := range groups {
		if !d.mappable(gid) || u.isIn(d.groups[gid].Group) {
			continue
		}
		if len(u.Groups) >= MaxMemberships {
			return refuse(InvalidData, "User `%s` is in %d groups, the most that is possible", u.UID, MaxMemberships)
		}
		u.Groups = append(u.Groups, Membership{GID: gid, Group: d.groups[gid].Generation, Origin: by, Mapped: true})
	}
	return nil
}

// mappable reports whether a claim may put somebody into a group.
func (d *Directory) mappable(gid GID) bool {
	g := d.groups[gid]
	return g != nil && gid != Superusers && !g.rights.superuser
}
