package acs

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"secretstore/acl"
	"secretstore/api/internal/answer"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/iam"
)

// ListACLs answers with the ACLs.
func (h *Handlers) ListACLs(_ context.Context, c *Call) (answer.Reply, error) {
	d, err := h.Accounts.Directory()
	if err != nil {
		return answer.Reply{}, err
	}
	if c.After != "" { // in any spelling
		after, err := iam.ParseRID(c.After)
		if err != nil {
			return answer.Reply{}, err
		}
		c.After = after.String()
	}
	some, next := page(c, d.ACLs(), func(a *iam.ACL) string { return a.RID.String() })
	return document(wire.ACLs{Array: each(some, aclDocument), Next: next})
}

// root returns the directory and the ACL that a request names.
func (h *Handlers) root(c *Call) (*iam.Directory, *iam.ACL, error) {
	d, err := h.Accounts.Directory()
	if err != nil {
		return nil, nil, err
	}
	rid, err := iam.ParseRID(c.RID)
	if err != nil {
		return nil, nil, err
	}
	a, err := d.ACL(rid)
	return d, a, err
}

// IsACL reports whether there is an ACL for a rid.
func (h *Handlers) IsACL(text string) bool {
	_, a, err := h.root(&Call{Target: Target{RID: text}})
	return err == nil && a != nil
}

// ShowACL answers with one ACL.
func (h *Handlers) ShowACL(_ context.Context, c *Call) (answer.Reply, error) {
	_, a, err := h.root(c)
	if err != nil {
		return answer.Reply{}, err
	}
	return document(aclDocument(a))
}

// CreateACL lets grants be made on a resource.
func (h *Handlers) CreateACL(_ context.Context, c *Call) (answer.Reply, error) {
	description, err := decodeDescription(c.Body)
	if err != nil {
		return answer.Reply{}, err
	}
	return h.changeACL(c, http.StatusCreated, func(d *iam.Directory, rid iam.RID) (iam.Change, error) {
		return d.CreateACL(rid, iam.SpellRID(c.RID), description, c.origin())
	})
}

// UpdateACL changes the description of an ACL.
func (h *Handlers) UpdateACL(_ context.Context, c *Call) (answer.Reply, error) {
	description, err := decodeDescription(c.Body)
	if err != nil {
		return answer.Reply{}, err
	}
	return h.changeACL(c, http.StatusNoContent, func(d *iam.Directory, rid iam.RID) (iam.Change, error) { return d.UpdateACL(rid, description) })
}

// DeleteACL deletes an ACL with all grants on its resource.
func (h *Handlers) DeleteACL(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeACL(c, http.StatusNoContent, func(d *iam.Directory, rid iam.RID) (iam.Change, error) { return d.DeleteACL(rid) })
}

func (h *Handlers) changeACL(c *Call, status int, change func(*iam.Directory, iam.RID) (iam.Change, error)) (answer.Reply, error) {
	rid, err := iam.ParseRID(c.RID)
	if err != nil {
		return answer.Reply{}, err
	}
	return h.change(c, status, func(d *iam.Directory) (iam.Change, error) { return change(d, rid) })
}

// ShowACLPermissions answers with all users and groups that have grants on a
// resource.
func (h *Handlers) ShowACLPermissions(_ context.Context, c *Call) (answer.Reply, error) {
	d, a, err := h.root(c)
	if err != nil {
		return answer.Reply{}, err
	}
	doc := wire.ACLPermissions{Users: []wire.UserEntry{}, Groups: []wire.GroupEntry{}}
	users, groups := d.Holders(a.RID)
	for _, u := range users {
		actions, err := entryOf(d, a, iam.OfUser(u.UID), "/users/"+string(u.UID))
		if err != nil {
			return answer.Reply{}, err
		}
		doc.Users = append(doc.Users, wire.UserEntry{UID: string(u.UID), UserURL: userURL(u.UID), Actions: actions})
	}
	for _, g := range groups {
		actions, err := entryOf(d, a, iam.OfGroup(g.GID), "/groups/"+string(g.GID))
		if err != nil {
			return answer.Reply{}, err
		}
		doc.Groups = append(doc.Groups, wire.GroupEntry{GID: string(g.GID), GroupURL: groupURL(g.GID), Actions: actions})
	}
	return document(doc)
}

func entryOf(d *iam.Directory, a *iam.ACL, holder iam.Holder, path string) ([]wire.Action, error) {
	grants, err := d.GrantsOn(a.RID, holder)
	return actionDocuments(grants, aclURL(a.Name)+path), err
}

// holder is the user or the group whose entry a request names.
func (c *Call) holder() (of iam.Holder, path string) {
	if c.GID != "" {
		return iam.OfGroup(iam.GID(c.GID)), "/groups/" + c.GID
	}
	return iam.OfUser(iam.UID(c.UID)), "/users/" + c.UID
}

// ShowEntry answers with what a user or a group has in an ACL.
func (h *Handlers) ShowEntry(_ context.Context, c *Call) (answer.Reply, error) {
	d, a, err := h.root(c)
	if err != nil {
		return answer.Reply{}, err
	}
	holder, path := c.holder()
	actions, err := entryOf(d, a, holder, path)
	if err != nil {
		return answer.Reply{}, err
	}
	return document(wire.Actions{Array: actions})
}

// DeleteEntry takes all actions on a resource from a user or a group.
func (h *Handlers) DeleteEntry(_ context.Context, c *Call) (answer.Reply, error) {
	return h.changeEntry(c, func(d *iam.Directory, rid iam.RID, of iam.Holder) (iam.Change, error) { return d.RevokeAll(rid, of) })
}

// changeEntry changes what a user or a group has in an ACL.
func (h *Handlers) changeEntry(c *Call, change func(*iam.Directory, iam.RID, iam.Holder) (iam.Change, error)) (answer.Reply, error) {
	return h.changeACL(c, http.StatusNoContent, func(d *iam.Directory, rid iam.RID) (iam.Change, error) {
		of, _ := c.holder()
		return change(d, rid, of)
	})
}

// Grant allows a user or a group to do something with a resource.
func (h *Handlers) Grant(_ context.Context, c *Call) (answer.Reply, error) {
	doc, err := decodeGrant(c.Body)
	if err != nil {
		return answer.Reply{}, err
	}
	until, err := inUTC("until", doc.Until)
	if err != nil {
		return answer.Reply{}, err
	}
	by := c.origin()
	if doc.Until != nil && !until.After(by.At) {
		return answer.Reply{}, &iam.Error{Code: iam.InvalidData, Text: "`until` must be in the future."}
	}
	action, err := iam.ParseAction(c.Action)
	if err != nil {
		return answer.Reply{}, err
	}
	return h.changeEntry(c, func(d *iam.Directory, rid iam.RID, of iam.Holder) (iam.Change, error) {
		return d.Grant(rid, of, action, until, by)
	})
}

// inUTC returns the time that a member of a document gives, or zero. In UTC it may be in
// another year, which JSON cannot express.
func inUTC(member string, t *time.Time) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	utc := t.UTC()
	if year := utc.Year(); year < 1 || year > 9999 {
		return time.Time{}, &iam.Error{Code: iam.InvalidData, Text: "`" + member + "` must be in the years 1 to 9999 of UTC."}
	}
	return utc, nil
}

// Revoke takes one action on a resource from a user or a group.
func (h *Handlers) Revoke(_ context.Context, c *Call) (answer.Reply, error) {
	action, err := iam.ParseAction(c.Action)
	if err != nil {
		return answer.Reply{}, err
	}
	return h.changeEntry(c, func(d *iam.Directory, rid iam.RID, of iam.Holder) (iam.Change, error) {
		return d.Revoke(rid, of, action)
	})
}

// UserMay answers whether a user may do something with a resource that has an ACL,
// as QueryPolicy does.
func (h *Handlers) UserMay(_ context.Context, c *Call) (answer.Reply, error) {
	action, err := iam.ParseAction(c.Action)
	if err != nil {
		return answer.Reply{}, err
	}
	d, a, err := h.root(c)
	if err != nil {
		return answer.Reply{}, err
	}
	if _, err := d.User(iam.UID(c.UID)); err != nil {
		return answer.Reply{}, err
	}
	return document(wire.Allowed{Allowed: h.allows(d, c.UID, a.RID, action)})
}

// GroupMay answers whether a group has an action, or full, in an ACL.
func (h *Handlers) GroupMay(_ context.Context, c *Call) (answer.Reply, error) {
	action, err := iam.ParseAction(c.Action)
	if err != nil {
		return answer.Reply{}, err
	}
	d, a, err := h.root(c)
	if err != nil {
		return answer.Reply{}, err
	}
	grants, err := d.Grants(iam.OfGroup(iam.GID(c.GID)))
	if err != nil {
		return answer.Reply{}, err
	}
	allowed := slices.ContainsFunc(grants, func(g iam.Grant) bool { return g.RID == a.RID && (g.Action == action || g.Action == acl.Full) })
	return document(wire.Allowed{Allowed: allowed})
}

// QueryPolicy answers whether a user may do something with a resource. A user or a
// resource that does not exist is an answer, too.
func (h *Handlers) QueryPolicy(_ context.Context, c *Call) (answer.Reply, error) {
	var values [3]string
	for i, name := range []string{"rid", "uid", "action"} {
		given := c.Query[name]
		if len(given) != 1 {
			return answer.Reply{}, &problem.Problem{Status: http.StatusBadRequest, Code: codeQuery, Text: fmt.Sprintf("Expected query parameter `%s`, once.", name)}
		}
		values[i] = given[0]
	}
	action, err := iam.ParseAction(values[2])
	if err != nil {
		return answer.Reply{}, err
	}
	about := Target{Template: UserPermission, RID: values[0], UID: values[1], Action: values[2]}
	c.About = about.Name()
	d, err := h.Accounts.Directory()
	if err != nil {
		return answer.Reply{}, err
	}
	rid, err := iam.ParseRID(values[0])
	return document(wire.Allowed{Allowed: err == nil && h.allows(d, values[1], rid, action)})
}

// codeQuery is the code of DC/OS for a query that lacks something.
const codeQuery = "ERR_MISSING_QUERY_PARAMETERS"

// allows decides by the policy about what belongs to the secret store, and by the
// directory about the rest.
func (h *Handlers) allows(d *iam.Directory, uid string, rid iam.RID, a acl.Action) bool {
	policy, who := h.Policy(), acl.Principal{UID: uid}
	if pattern, ok := rid.Pattern(); ok {
		if policy.DecideResource(who, pattern, a).Allowed {
			return true
		}
	} else if policy.Decide(who, acl.Request{Op: acl.Administer}).Allowed {
		return true
	}
	return d.Allows(iam.UID(uid), rid, a)
}
