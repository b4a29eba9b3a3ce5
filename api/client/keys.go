package client

import (
	"context"
	"net/http"
	"net/url"

	"secretstore/api/wire"
)

// All of these are for superusers only. All but Keys and Nodes need an unsealed
// store. After an error that does not say whether the server has acted,
// RekeyStatus and RotationStatus do.

// StartRekey makes a new unseal key for new holders, or asks the present ones to
// approve that. The present key stays in force until the new one is verified.
// ErrExists if a rekey is under way, or if a new root key would not reach all live
// servers.
func (c *Client) StartRekey(ctx context.Context, r wire.RekeyRequest) (wire.Rekey, error) {
	return doJSON[wire.Rekey](ctx, c, call{one: true, method: http.MethodPut, path: c.ofStore("/rekey")}, r)
}

// RekeyStatus returns the rekey that is under way; Active is false, and the
// rest empty, if none is.
func (c *Client) RekeyStatus(ctx context.Context) (wire.Rekey, error) {
	return doJSON[wire.Rekey](ctx, c, call{one: true, method: http.MethodGet, path: c.ofStore("/rekey")}, nil)
}

// Recipients returns the live servers, by whether a new root key would reach them.
func (c *Client) Recipients(ctx context.Context) (wire.Recipients, error) {
	return doJSON[wire.Recipients](ctx, c, call{one: true, method: http.MethodGet, path: c.ofStore("/rekey") + "/recipients"}, nil)
}

// ApproveRekey sends one share of the present key, as gpg prints it, to approve a
// rekey. Phase is "verification" once there are enough. ErrNotFound if nonce names
// no rekey under way.
func (c *Client) ApproveRekey(ctx context.Context, nonce, share string) (wire.Rekey, error) {
	return doJSON[wire.Rekey](ctx, c, call{one: true, method: http.MethodPut, path: c.ofStore("/rekey") + "/current"}, wire.RekeyShare{Nonce: nonce, Key: wire.Share(share)})
}

// VerifyRekey sends one share of the new key, as gpg prints it. Active is false
// once the new key is in force. ErrNotFound if nonce names no rekey under way,
// ErrExists if it is not approved yet.
func (c *Client) VerifyRekey(ctx context.Context, nonce, share string) (wire.Rekey, error) {
	return doJSON[wire.Rekey](ctx, c, call{one: true, method: http.MethodPut, path: c.ofStore("/rekey") + "/verify"}, wire.RekeyShare{Nonce: nonce, Key: wire.Share(share)})
}

// CancelRekey cancels the rekey that nonce names; "" removes a record that does
// not authenticate. ErrNotFound.
func (c *Client) CancelRekey(ctx context.Context, nonce string) error {
	// In the query: a proxy may drop the body of a DELETE.
	_, err := c.do(ctx, call{one: true, method: http.MethodDelete, path: c.ofStore("/rekey"), query: url.Values{"nonce": {nonce}}})
	return err
}

// Rotate adds a data key, which new writes use at once. ErrExists if too many
// rotations are under way.
func (c *Client) Rotate(ctx context.Context) (wire.Rotation, error) {
	return doJSON[wire.Rotation](ctx, c, call{one: true, method: http.MethodPut, path: c.ofStore("/rotate")}, nil)
}

// RotationStatus returns the progress of the rotation.
func (c *Client) RotationStatus(ctx context.Context) (wire.Rotation, error) {
	return doJSON[wire.Rotation](ctx, c, call{one: true, method: http.MethodGet, path: c.ofStore("/rotate")}, nil)
}

// Keys reports on the holders and their keys; it works sealed.
func (c *Client) Keys(ctx context.Context) (wire.Keys, error) {
	return doJSON[wire.Keys](ctx, c, call{one: true, method: http.MethodGet, path: c.ofStore("/keys")}, nil)
}

// Nodes returns the servers as described in the storage. Nothing in it is
// verified: never connect to one of them. It works sealed.
func (c *Client) Nodes(ctx context.Context) (wire.Nodes, error) {
	return doJSON[wire.Nodes](ctx, c, call{one: true, method: http.MethodGet, path: c.ofStore("/nodes")}, nil)
}
