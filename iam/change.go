package iam

import (
	"crypto/rand"
	"slices"
	"time"

	"secretstore/acl"
)

// Change is what a request changes. It is made for one directory, and may be
// written only while that is what the storage holds.
type Change struct {
	Put    []Entry
	Remove []EntryID
}

// newGeneration returns a random generation.
func newGeneration() Generation {
	var g Generation
	rand.Read(g[:]) // never fails
	return g
}

// check refuses a change after which there would be no superuser, if there is one
// now. Superusers whose right ends count only if all rights end now.
func (d *Directory) check(c Change) (Change, error) {
	after := d.With(c.Put, c.Remove...)
	if d.hasLastingSuperuser() && !after.hasLastingSuperuser() || d.hasSuperuser() && !after.hasSuperuser() {
		return Change{}, refuse(NoMoreSuperusers, "Last member from `superusers` group cannot be removed")
	}
	return c, nil
}

// Setup returns the group of superusers and the ACL that it has, as far as they
// are missing. They belong to every directory.
func (d *Directory) Setup(by Origin) Change {
	var c Change
	root := d.acls[Superuser]
	if root == nil {
		root = &ACL{RID: Superuser, Name: Superuser.String(), Description: "Superuser ACL", Generation: newGeneration(), Made: by}
		c.Put = append(c.Put, root)
	}
	g := Group{GID: Superusers, Description: "Superuser group", Provider: Internal, Generation: newGeneration(), Made: by}
	if now := d.groups[Superusers]; now != nil {
		g = *now.Group
	}
	full := func(of Grant) bool { return of.RID == Superuser && of.ACL == root.Generation && of.Action == acl.Full }
	if !slices.ContainsFunc(g.Grants, full) {
		g.Grants = append(slices.Clone(g.Grants), Grant{RID: Superuser, ACL: root.Generation, Action: acl.Full, Origin: by})
		c.Put = append(c.Put, &g)
	}
	return c
}

// CreateUser makes an account out of u, whose rules were checked with
// [NewAccount.Check]: generation and origin are set here, and it has no grants.
// UserExists.
func (d *Directory) CreateUser(u User, by Origin) (Change, error) {
	if d.users[u.UID] != nil && d.users[u.UID].Exists() || d.OfFile(u.UID) {
		return Change{}, refuse(UserExists, "User with id `%s` already exists.", u.UID)
	}
	u.Generation, u.Made, u.Grants, u.Groups = newGeneration(), by, nil, nil
	return Change{Put: []Entry{&u}}, nil
}

// UserUpdate is what changes of an account; nil stays as it is.
type UserUpdate struct {
	Description *string
	Hash        *string // of a new password, which ends all tokens of the account
}

// UpdateUser changes an account. UnknownUserID, InvalidData.
func (d *Directory) UpdateUser(uid UID, up UserUpdate) (Change, error) {
	return d.editUser(uid, func(u *User) error {
		if up.Description == nil && up.Hash == nil {
			return refuse(InvalidData, "One of `description` and `password` must be provided.")
		}
		if up.Description != nil {
			u.Description = *up.Description
		}
		if up.Hash == nil {
			return nil
		}
		if u.IsService() {
			return refuse(InvalidData, "Password update is not available for service user accounts.")
		}
		if u.IsRemote() {
			return refuse(InvalidData, "Password update is not available for accounts of another provider.")
		}
		u.Hash, u.Generation = *up.Hash, newGeneration()
		return nil
	})
}

// Rehash replaces the hash of the same password: tokens stay good. It does nothing
// if the hash has changed meanwhile. UnknownUserID.
func (d *Directory) Rehash(uid UID, old, hash string) (Change, error) {
	return d.editUser(uid, func(u *User) error {
		if u.Hash == old {
			u.Hash = hash
		}
		return nil
	})
}

// RevokeTokens ends all tokens of an account. UnknownUserID.
func (d *Directory) RevokeTokens(uid UID) (Change, error) {
	return d.editUser(uid, func(u *User) error {
		u.Generation = newGeneration()
		return nil
	})
}

// DeleteUser deletes an account, its grants and its memberships, and ends its
// tokens. UnknownUserID, NoMoreSuperusers.
func (d *Directory) DeleteUser(uid UID) (Change, error) {
	if _, err := d.editable(uid); err != nil {
		return Change{}, err
	}
	return d.check(Change{Put: []Entry{&User{UID: uid}}})
}

// editable returns an account that exists. One that the file names is refused: a
// change would not be what clients see.
func (d *Directory) editable(uid UID) (*User, error) {
	if d.OfFile(uid) {
		return nil, refuse(InvalidData, "User `%s` is a superuser of this server's file, and can be changed only there.", uid)
	}
	return d.User(uid)
}

// editUser changes a copy of an account.
func (d *Directory) editUser(uid UID, edit func(*User) error) (Change, error) {
	now, err := d.editable(uid)
	if err != nil {
		return Change{}, err
	}
	u := *now
	if err := edit(&u); err != nil {
		return Change{}, err
	}
	return Change{Put: []Entry{&u}}, nil
}

// maxKeys bounds the public keys of a service account.
const maxKeys = 16

// AddKey gives a service account one more public key, and lets the others end at
// retire, unless that is zero. Those that have ended by the time of k are gone, so that
// keys can be rotated for ever. UnknownUserID, InvalidData.
func (d *Directory) AddKey(uid UID, k Key, retire time.Time) (Change, error) {
	return d.editUser(uid, func(u *User) error {
		if !u.IsService() {
			return refuse(InvalidData, "Only service accounts have public keys.")
		}
		keys := []Key{k}
		for _, old := range u.Keys {
			if old.ID == k.ID {
				return refuse(InvalidData, "The account has this public key already.")
			}
			if old.Ended(k.At) {
				continue
			}
			if !retire.IsZero() && (old.RetireAfter.IsZero() || retire.Before(old.RetireAfter)) {
				old.RetireAfter = retire
			}
			keys = append(keys, old)
		}
		if len(keys) > maxKeys {
			return refuse(InvalidData, "A service account has at most %d public keys: delete one first.", maxKeys)
		}
		u.Keys = keys
		return nil
	})
}

// DeleteKey takes a public key from a service account, which keeps at least one.
// UnknownUserID, InvalidData.
func (d *Directory) DeleteKey(uid UID, id string) (Change, error) {
	return d.editUser(uid, func(u *User) error {
		keys := slices.DeleteFunc(slices.Clone(u.Keys), func(k Key) bool { return k.ID == id })
		switch {
		case len(keys) == len(u.Keys):
			return refuse(InvalidData, "The account has no public key of that id.")
		case len(keys) == 0:
			return refuse(InvalidData, "This is the only public key of the account: delete the account instead.")
		}
		u.Keys = keys
		return nil
	})
}

// CreateGroup makes a group. GroupExists.
func (d *Directory) CreateGroup(gid GID, description string, provider ProviderType, by Origin) (Change, error) {
	if d.groups[gid] != nil {
		return Change{}, refuse(GroupExists, "Group with id `%s` already exists.", gid)
	}
	g := &Group{GID: gid, Description: description, Provider: provider, Generation: newGeneration(), Made: by}
	return Change{Put: []Entry{g}}, nil
}

// UpdateGroup changes the description of a group. UnknownGroupID.
func (d *Directory) UpdateGroup(gid GID, description string) (Change, error) {
	now, err := d.Group(gid)
	if err != nil {
		return Change{}, err
	}
	g := *now
	g.Description = description
	return Change{Put: []Entry{&g}}, nil
}

// DeleteGroup deletes a group with its grants. Its members do not belong to a new
// group of that id either. UnknownGroupID, IsSuperuserGroup, NoMoreSuperusers.
func (d *Directory) DeleteGroup(gid GID) (Change, error) {
	g, err := d.Group(gid)
	if err != nil {
		return Change{}, err
	}
	if gid == Superusers {
		return Change{}, superuserGroup()
	}
	return d.check(Change{Remove: []EntryID{g.ID()}})
}

func superuserGroup() *Error {
	return refuse(IsSuperuserGroup, "The `superusers` group must have `full` permission on the `dcos:superuser` resource.")
}

// AddMember puts a user into a group. UnknownGroupID, UnknownUserID,
// UserAlreadyInGroup, InvalidData.
func (d *Directory) AddMember(gid GID, uid UID, by Origin) (Change, error) {
	g, err := d.Group(gid)
	if err != nil {
		return Change{}, err
	}
	return d.editUser(uid, func(u *User) error {
		if u.isIn(g) {
			return refuse(UserAlreadyInGroup, "User `%s` is already member of group `%s`", uid, gid)
		}
		groups := d.MembershipsOf(u)
		if len(groups) >= MaxMemberships {
			return refuse(InvalidData, "User `%s` is in %d groups, the most that is possible", uid, MaxMemberships)
		}
		u.Groups = append(groups, Membership{GID: gid, Group: g.Generation, Origin: by})
		return nil
	})
}

// RemoveMember takes a user out of a group. UnknownGroupID, UnknownUserID,
// UserNotInGroup, NoMoreSuperusers.
func (d *Directory) RemoveMember(gid GID, uid UID) (Change, error) {
	g, err := d.Group(gid)
	if err != nil {
		return Change{}, err
	}
	c, err := d.editUser(uid, func(u *User) error {
		if !u.isIn(g) {
			return refuse(UserNotInGroup, "User `%s` is not member of group `%s`", uid, gid)
		}
		u.Groups = slices.DeleteFunc(slices.Clone(u.Groups), func(m Membership) bool { return m.GID == gid })
		return nil
	})
	if err != nil {
		return Change{}, err
	}
	return d.check(c)
}

// CreateACL lets grants be made on a resource. name is the rid as it was written.
// ACLExists.
func (d *Directory) CreateACL(rid RID, name, description string, by Origin) (Change, error) {
	if d.acls[rid] != nil {
		return Change{}, refuse(ACLExists, "ACL for resource with rid `%s` already exists.", name)
	}
	return Change{Put: []Entry{&ACL{RID: rid, Name: name, Description: description, Generation: newGeneration(), Made: by}}}, nil
}

// UpdateACL changes the description of an ACL. UnknownResourceID.
func (d *Directory) UpdateACL(rid RID, description string) (Change, error) {
	now, err := d.ACL(rid)
	if err != nil {
		return Change{}, err
	}
	a := *now
	a.Description = description
	return Change{Put: []Entry{&a}}, nil
}

// DeleteACL deletes an ACL. All grants on its resource are void, also if it is made
// again. UnknownResourceID, IsSuperuserACL.
func (d *Directory) DeleteACL(rid RID) (Change, error) {
	a, err := d.ACL(rid)
	if err != nil {
		return Change{}, err
	}
	if rid == Superuser {
		return Change{}, refuse(IsSuperuserACL, "The ACL of `dcos:superuser` cannot be deleted.")
	}
	return Change{Remove: []EntryID{a.ID()}}, nil
}
