package client

import (
	"context"
	"net/http"

	"secretstore/api/wire"
)

// Conditional changes a secret only while it is the one that the caller has
// read: if somebody else was first there is ErrChanged, and nothing has
// happened.
type Conditional struct {
	client *Client
	etag   string
}

// IfMatch returns the changes that demand the ETag of Secret; "*" demands any
// value, as the changes without a condition do.
func (c *Client) IfMatch(etag string) Conditional { return Conditional{c, etag} }

// UpdateText is Client.UpdateText. ErrChanged, ErrNotFound.
func (i Conditional) UpdateText(ctx context.Context, path string, s wire.SecretWrite) error {
	return i.client.writeText(ctx, http.MethodPatch, path, s, i.header())
}

// UpdateBinary is Client.UpdateBinary. ErrChanged, ErrNotFound.
func (i Conditional) UpdateBinary(ctx context.Context, path string, value []byte) error {
	return i.client.write(ctx, http.MethodPatch, path, wire.TypeBinary, value, i.header())
}

// Delete is Client.Delete. ErrChanged, ErrNotFound.
func (i Conditional) Delete(ctx context.Context, path string) error {
	return i.client.delete(ctx, path, i.header())
}

// header states the condition. Of no ETag at all it makes one that servers
// refuse, rather than a change without a condition.
func (i Conditional) header() http.Header { return http.Header{"If-Match": {i.etag}} }
