package acs

import (
	"context"
	"errors"
	"net/http"
	"time"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/iam"
	"secretstore/iam/authority"
)

// typeService is the value of the query parameter type that asks for service accounts.
const typeService = "service"

// wanted are the people, or with ?type=service the service accounts.
func wanted(c *Call, users []*iam.User) (some []*iam.User) {
	services := c.Query.Get("type") == typeService
	for _, u := range users {
		if u.IsService() == services {
			some = append(some, u)
		}
	}
	return some
}

func uidOf(u *iam.User) string { return string(u.UID) }

// ListUsers answers with the people, or the service accounts; with ?last_use=true also
// with when each was made and last used.
func (h *Handlers) ListUsers(_ context.Context, c *Call) (answer.Reply, error) {
	d, err := h.Accounts.Directory()
	if err != nil {
		return answer.Reply{}, err
	}
	some, next := page(c, wanted(c, d.Users()), uidOf)
	show := userDocument
	if c.Query.Get("last_use") == "true" {
		uses := h.Accounts.LastUses()
		show = func(u *iam.User) wire.User {
			doc := userDocument(u)
			doc.CreatedBy, doc.Created, doc.LastUse = string(u.Made.By), u.Made.At.UTC(), uses[u.UID].UTC().Truncate(time.Second)
			return doc
		}
	}
	return document(wire.Users{Array: each(some, show), Next: next})
}

// account returns the directory and the account that a request names.
func (h *Handlers) account(c *Call) (*iam.Directory, *iam.User, error) {
	d, err := h.Accounts.Directory()
	if err != nil {
		return nil, nil, err
	}
	u, err := d.User(iam.UID(c.UID))
	return d, u, err
}

// ShowUser answers with one account.
func (h *Handlers) ShowUser(_ context.Context, c *Call) (answer.Reply, error) {
	_, u, err := h.account(c)
	if err != nil {
		return answer.Reply{}, err
	}
	return document(userDocument(u))
}

// CreateUser makes an account.
func (h *Handlers) CreateUser(ctx context.Context, c *Call) (answer.Reply, error) {
	doc, err := decodeUserCreate(c.Body)
	defer clear(doc.Password)
	if err != nil {
		return answer.Reply{}, err
	}
	n := iam.NewAccount{Description: doc.Description, Password: doc.Password, PublicKey: doc.PublicKey, ProviderType: doc.ProviderType, ProviderID: doc.ProviderID}
	u, err := n.Check(iam.UID(c.UID))
	if err != nil {
		return answer.Reply{}, err
	}
	if _, err := iam.ParseUID(c.UID); err != nil {
		return answer.Reply{}, err
	}
	by := c.origin()
	for i := range u.Keys {
		u.Keys[i].Origin = by
	}
	if doc.Password != nil {
		if u.Hash, err = h.hashNew(ctx, c, u, doc.Password); err != nil {
			return answer.Reply{}, err
		}
	}
	return h.change(c, http.StatusCreated, func(d *iam.Directory) (iam.Change, error) { return d.CreateUser(u, by) })
}

// hashNew hashes the password of a new account, unless there is one already.
func (h *Handlers) hashNew(ctx context.Context, c *Call, u iam.User, password []byte) (string, error) {
	d, err := h.Accounts.Directory()
	if err != nil {
		return "", err
	}
	if _, err := d.CreateUser(u, iam.Origin{}); err != nil {
		return "", err
	}
	return h.hash(ctx, c, password)
}

// hash hashes a password in the turn of the caller.
func (h *Handlers) hash(ctx context.Context, c *Call, password []byte) (string, error) {
	hash, err := h.Accounts.HashPassword(ctx, c.Principal.UID, password, c.Remote)
	return hash, signInProblem(err)
}

// UpdateUser changes the description or the password of an account. Users change
// their own password if they know the old one.
func (h *Handlers) UpdateUser(ctx context.Context, c *Call) (answer.Reply, error) {
	doc, err := decodeUserUpdate(c.Body)
	defer clear(doc.Password)
	defer clear(doc.OldPassword)
	if err != nil {
		return answer.Reply{}, err
	}
	up := iam.UserUpdate{Description: doc.Description}
	if doc.Password != nil {
		up.Hash = new(string) // the hash is made last
	}
	d, err := h.Accounts.Directory()
	if err == nil {
		_, err = d.UpdateUser(iam.UID(c.UID), up)
	}
	if err == nil {
		err = checkUpdate(c, &doc)
	}
	if err != nil {
		return answer.Reply{}, err
	}
	still := func(*iam.Directory) error { return nil }
	if doc.OldPassword != nil {
		if still, err = h.checkOld(ctx, c, doc.OldPassword); err != nil {
			return answer.Reply{}, err
		}
	}
	if doc.Password != nil {
		if *up.Hash, err = h.hash(ctx, c, doc.Password); err != nil {
			return answer.Reply{}, err
		}
	}
	return h.change(c, http.StatusNoContent, func(d *iam.Directory) (iam.Change, error) {
		if err := still(d); err != nil {
			return iam.Change{}, err
		}
		return d.UpdateUser(iam.UID(c.UID), up)
	})
}

// checkUpdate has the rules for an update that package iam does not know.
func checkUpdate(c *Call, doc *wire.UserUpdate) error {
	if doc.Description != nil {
		if err := iam.CheckDescription(*doc.Description); err != nil {
			return err
		}
	}
	if doc.Password != nil {
		if err := iam.CheckPassword(doc.Password); err != nil {
			return err
		}
	}
	switch {
	case c.Own && doc.Description != nil:
		return &problem.Problem{Status: http.StatusForbidden, Text: acl.ReasonNoPermission + ": only superusers change a description"}
	case c.Own && doc.OldPassword == nil:
		return &iam.Error{Code: iam.InvalidData, Text: "`old_password` must be provided to change your own password."}
	}
	return nil
}

// checkOld verifies the old password of an account, and returns what says whether it
// still is that. A wrong one is not a 401, which would be about the token.
func (h *Handlers) checkOld(ctx context.Context, c *Call, old []byte) (still func(*iam.Directory) error, err error) {
	wrong := &problem.Problem{Status: http.StatusBadRequest, Code: codeCredentials, Text: "`old_password` is not the password of the account."}
	who, err := h.Accounts.SignIn(ctx, c.UID, old, c.Remote)
	if errors.Is(err, authority.ErrCredentials) {
		return nil, wrong
	}
	return func(d *iam.Directory) error {
		if now, ok := d.Identity(iam.UID(c.UID)); !ok || now != who {
			return wrong
		}
		return nil
	}, signInProblem(err)
}

// DeleteUser deletes an account.
func (h *Handlers) DeleteUser(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeUser(c, func(d *iam.Directory, uid iam.UID) (iam.Change, error) { return d.DeleteUser(uid) })
}

// RevokeTokens ends all tokens of an account.
func (h *Handlers) RevokeTokens(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeUser(c, func(d *iam.Directory, uid iam.UID) (iam.Change, error) { return d.RevokeTokens(uid) })
}

// changeUser changes the account that a request names.
func (h *Handlers) changeUser(c *Call, change func(*iam.Directory, iam.UID) (iam.Change, error)) (answer.Reply, error) {
	return h.change(c, http.StatusNoContent, func(d *iam.Directory) (iam.Change, error) {
		return change(d, iam.UID(c.UID))
	})
}

// ListKeys answers with the public keys of a service account.
func (h *Handlers) ListKeys(_ context.Context, c *Call) (answer.Reply, error) {
	_, u, err := h.account(c)
	if err != nil {
		return answer.Reply{}, err
	}
	return document(wire.AccountKeys{Array: each(u.Keys, keyDocument)})
}

// AddKey gives a service account one more public key.
func (h *Handlers) AddKey(_ context.Context, c *Call) (answer.Reply, error) {
	doc, err := decodeKeyAdd(c.Body)
	if err != nil {
		return answer.Reply{}, err
	}
	key, err := iam.ParsePublicKey(doc.PublicKey)
	if err != nil {
		return answer.Reply{}, err
	}
	key.Origin = c.origin()
	retire, err := inUTC("retire_after", doc.RetireAfter)
	if err != nil {
		return answer.Reply{}, err
	}
	return h.changeUser(c, func(d *iam.Directory, uid iam.UID) (iam.Change, error) { return d.AddKey(uid, key, retire) })
}

// DeleteKey takes a public key from a service account.
func (h *Handlers) DeleteKey(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeUser(c, func(d *iam.Directory, uid iam.UID) (iam.Change, error) { return d.DeleteKey(uid, c.Key) })
}

// ListGroupsOfUser answers with the groups that a user is in.
func (h *Handlers) ListGroupsOfUser(_ context.Context, c *Call) (answer.Reply, error) {
	d, u, err := h.account(c)
	if err != nil {
		return answer.Reply{}, err
	}
	return document(wire.GroupsOfUser{Array: each(groupsOf(d, u), func(g *iam.Group) wire.GroupOfUser {
		return wire.GroupOfUser{MembershipURL: memberURL(g.GID, u.UID), Group: groupDocument(g)}
	})})
}

// ShowUserPermissions answers with what was granted to a user, and to its groups.
func (h *Handlers) ShowUserPermissions(_ context.Context, c *Call) (answer.Reply, error) {
	d, u, err := h.account(c)
	if err != nil {
		return answer.Reply{}, err
	}
	doc := wire.UserPermissions{Direct: []wire.Permission{}, Groups: []wire.GroupPermission{}}
	grants, err := d.Grants(iam.OfUser(u.UID))
	if err != nil {
		return answer.Reply{}, err
	}
	doc.Direct = permissionDocuments(d, grants, "users/"+string(u.UID))
	for _, g := range groupsOf(d, u) {
		grants, err := d.Grants(iam.OfGroup(g.GID))
		if err != nil {
			return answer.Reply{}, err
		}
		for _, p := range permissionDocuments(d, grants, "groups/"+string(g.GID)) {
			doc.Groups = append(doc.Groups, wire.GroupPermission{RID: p.RID, GID: string(g.GID), Description: p.Description, ACLURL: p.ACLURL,
				MembershipURL: memberURL(g.GID, u.UID), Actions: p.Actions})
		}
	}
	return document(doc)
}
