package client

import (
	"context"
	"net/http"
	"net/url"

	"secretstore/api/wire"
)

// Question is what [Client.Explain] asks about.
type Question struct {
	// Action is create, read, update, delete, list, watch, resolve or administer.
	Action string
	Path   string // of the secret or folder
	// UID is the user; "" is the caller. Only superusers may ask about others.
	UID string
	// Service, if not nil, is the service on whose behalf the secret is read.
	Service *string
	// Bound, if not nil, is the service to which the token is bound.
	Bound *string
}

// Explain asks why a user may do something, or why not. ErrDenied.
func (c *Client) Explain(ctx context.Context, q Question) (wire.Explanation, error) {
	v := url.Values{wire.ActionParam: {q.Action}, wire.PathParam: {q.Path}}
	if q.UID != "" {
		v.Set(wire.UIDParam, q.UID)
	}
	if q.Service != nil {
		v.Set(wire.ServiceParam, *q.Service)
	}
	if q.Bound != nil {
		v.Set(wire.BoundParam, *q.Bound)
	}
	return doJSON[wire.Explanation](ctx, c, call{method: http.MethodGet, path: "/explain", query: v}, nil)
}

// WhoCan asks who may do something with a secret, or with a folder for list and
// watch. Only superusers may ask. ErrDenied.
func (c *Client) WhoCan(ctx context.Context, action, path string) (wire.WhoCan, error) {
	v := url.Values{wire.ActionParam: {action}, wire.PathParam: {path}}
	return doJSON[wire.WhoCan](ctx, c, call{method: http.MethodGet, path: "/who-can", query: v}, nil)
}

// Audit returns the last lines of the audit log of the server. Only superusers get
// them. ErrDenied.
func (c *Client) Audit(ctx context.Context) (wire.AuditLog, error) {
	return doJSON[wire.AuditLog](ctx, c, call{method: http.MethodGet, path: "/audit"}, nil)
}
