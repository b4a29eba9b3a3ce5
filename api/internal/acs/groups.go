package acs

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"secretstore/api/internal/answer"
	"secretstore/api/wire"
	"secretstore/iam"
)

// groupsOf returns the groups that u is in, ordered by gid.
func groupsOf(d *iam.Directory, u *iam.User) (all []*iam.Group) {
	for _, m := range d.MembershipsOf(u) {
		if g, err := d.Group(m.GID); err == nil {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b *iam.Group) int { return strings.Compare(string(a.GID), string(b.GID)) })
	return all
}

// ListGroups answers with the groups.
func (h *Handlers) ListGroups(_ context.Context, c *Call) (answer.Reply, error) {
	d, err := h.Accounts.Directory()
	if err != nil {
		return answer.Reply{}, err
	}
	some, next := page(c, d.Groups(), func(g *iam.Group) string { return string(g.GID) })
	return document(wire.Groups{Array: each(some, groupDocument), Next: next})
}

// group returns the directory and the group that a request names.
func (h *Handlers) group(c *Call) (*iam.Directory, *iam.Group, error) {
	d, err := h.Accounts.Directory()
	if err != nil {
		return nil, nil, err
	}
	g, err := d.Group(iam.GID(c.GID))
	return d, g, err
}

// ShowGroup answers with one group.
func (h *Handlers) ShowGroup(_ context.Context, c *Call) (answer.Reply, error) {
	_, g, err := h.group(c)
	if err != nil {
		return answer.Reply{}, err
	}
	return document(groupDocument(g))
}

// CreateGroup makes a group.
func (h *Handlers) CreateGroup(_ context.Context, c *Call) (answer.Reply, error) {
	doc, err := decodeGroupCreate(c.Body)
	if err != nil {
		return answer.Reply{}, err
	}
	if err := iam.CheckDescription(doc.Description); err != nil {
		return answer.Reply{}, err
	}
	provider := iam.Internal
	if doc.ProviderType != nil {
		if provider, err = iam.ParseProviderType(*doc.ProviderType); err != nil {
			return answer.Reply{}, err
		}
	}
	gid, err := iam.ParseGID(c.GID)
	if err != nil {
		return answer.Reply{}, err
	}
	return h.change(c, http.StatusCreated, func(d *iam.Directory) (iam.Change, error) {
		return d.CreateGroup(gid, doc.Description, provider, c.origin())
	})
}

// UpdateGroup changes the description of a group.
func (h *Handlers) UpdateGroup(_ context.Context, c *Call) (answer.Reply, error) {
	description, err := decodeDescription(c.Body)
	if err != nil {
		return answer.Reply{}, err
	}
	return h.change(c, http.StatusNoContent, func(d *iam.Directory) (iam.Change, error) { return d.UpdateGroup(iam.GID(c.GID), description) })
}

// DeleteGroup deletes a group.
func (h *Handlers) DeleteGroup(_ context.Context, c *Call) (answer.Reply, error) {
	return h.change(c, http.StatusNoContent, func(d *iam.Directory) (iam.Change, error) { return d.DeleteGroup(iam.GID(c.GID)) })
}

// ListMembers answers with the people in a group, or with its service accounts.
func (h *Handlers) ListMembers(_ context.Context, c *Call) (answer.Reply, error) {
	d, g, err := h.group(c)
	if err != nil {
		return answer.Reply{}, err
	}
	some, next := page(c, wanted(c, d.Members(g.GID)), uidOf)
	return document(wire.MembersOfGroup{Next: next, Array: each(some, func(u *iam.User) wire.MemberOfGroup {
		doc := wire.MemberOfGroup{MembershipURL: memberURL(g.GID, u.UID), User: userDocument(u)}
		for _, m := range d.MembershipsOf(u) {
			if m.GID == g.GID {
				doc.By, doc.At = string(m.By), m.At.UTC()
			}
		}
		return doc
	})})
}

// AddMember puts a user into a group.
func (h *Handlers) AddMember(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeUser(c, func(d *iam.Directory, uid iam.UID) (iam.Change, error) {
		return d.AddMember(iam.GID(c.GID), uid, c.origin())
	})
}

// RemoveMember takes a user out of a group.
func (h *Handlers) RemoveMember(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeUser(c, func(d *iam.Directory, uid iam.UID) (iam.Change, error) { return d.RemoveMember(iam.GID(c.GID), uid) })
}

// ShowGroupPermissions answers with what was granted to a group.
func (h *Handlers) ShowGroupPermissions(_ context.Context, c *Call) (answer.Reply, error) {
	d, g, err := h.group(c)
	if err != nil {
		return answer.Reply{}, err
	}
	grants, err := d.Grants(iam.OfGroup(g.GID))
	if err != nil {
		return answer.Reply{}, err
	}
	return document(wire.Permissions{Array: permissionDocuments(d, grants, "groups/"+string(g.GID))})
}
