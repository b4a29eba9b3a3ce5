package client

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"secretstore/api/wire"
)

// Grants calls the endpoints about resources and who may do what with them.
type Grants struct{ c *Client }

// Grants returns the calls about grants. They use the configuration of c.
func (c *Client) Grants() Grants { return Grants{c} }

// Holder is a user or a group that a grant is for. Exactly one of the two is set.
type Holder struct{ UID, GID string }

// parts returns the end of a path.
func (h Holder) parts() (kind, id string) {
	if h.GID != "" {
		return "groups", h.GID
	}
	return "users", h.UID
}

// spelled returns a resource as the clients of DC/OS spell it in a path: after the
// escape, a slash is %252F, which proxies leave alone.
func spelled(rid string) string { return strings.ReplaceAll(rid, "/", "%2F") }

// Resources returns the resources that grants can be made on.
func (g Grants) Resources(ctx context.Context) ([]wire.ACL, error) {
	got, err := read[wire.ACLs](ctx, g.c, nil, "acls")
	return got.Array, err
}

// CreateResource lets grants be made on a resource. ErrExists.
func (g Grants) CreateResource(ctx context.Context, rid, description string) error {
	return change(ctx, g.c, http.MethodPut, wire.Description{Description: description}, "acls", spelled(rid))
}

// DeleteResource deletes a resource and all grants on it.
func (g Grants) DeleteResource(ctx context.Context, rid string) error {
	return change(ctx, g.c, http.MethodDelete, nil, "acls", spelled(rid))
}

// On returns the grants on a resource.
func (g Grants) On(ctx context.Context, rid string) (wire.ACLPermissions, error) {
	return read[wire.ACLPermissions](ctx, g.c, nil, "acls", spelled(rid), "permissions")
}

// OfGroup returns what was granted to a group.
func (g Grants) OfGroup(ctx context.Context, gid string) ([]wire.Permission, error) {
	got, err := read[wire.Permissions](ctx, g.c, nil, "groups", gid, "permissions")
	return got.Array, err
}

// Grant allows a holder to do something with a resource, which must exist; until
// a time, unless that is zero. ErrExists.
func (g Grants) Grant(ctx context.Context, h Holder, action, rid string, until time.Time) error {
	var in any
	if !until.IsZero() {
		in = wire.GrantCreate{Until: &until}
	}
	kind, id := h.parts()
	return change(ctx, g.c, http.MethodPut, in, "acls", spelled(rid), kind, id, action)
}

// Allow is Grant, and makes the resource if it does not exist.
func (g Grants) Allow(ctx context.Context, h Holder, action, rid string, until time.Time) error {
	err := g.Grant(ctx, h, action, rid, until)
	if !hasCode(err, "ERR_UNKNOWN_RESOURCE_ID") {
		return err
	}
	// The description is that of the DC/OS command line, which does the same.
	if err := g.CreateResource(ctx, rid, "Created with the security CLI"); err != nil && !hasCode(err, "ERR_ACL_EXISTS") {
		return err
	}
	return g.Grant(ctx, h, action, rid, until)
}

func hasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Revoke takes one action on a resource from a holder.
func (g Grants) Revoke(ctx context.Context, h Holder, action, rid string) error {
	kind, id := h.parts()
	return change(ctx, g.c, http.MethodDelete, nil, "acls", spelled(rid), kind, id, action)
}
