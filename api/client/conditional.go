package client

import (
	"context"
	"net/http"

	"secretstore/api/wire"
)

// Conditional changes a secret only if it still has the value that the caller
// has read. If another writer was first, the result is ErrChanged, and nothing
// has happened.
type Conditional struct {
	client *Client
	etag   string
}

// IfMatch returns changes that need the given ETag of a Secret. "*" is any
// value, as for changes without a condition.
func (c *Client) IfMatch(etag string) Conditional { return Conditional{c, etag} }

// Update is Client.Update. ErrChanged, ErrNotFound.
func (i Conditional) Update(ctx context.Context, path string, v Value) (Written, error) {
	return i.client.write(ctx, http.MethodPatch, path, v, i.header())
}

// UpdateText is Client.UpdateText. ErrChanged, ErrNotFound.
func (i Conditional) UpdateText(ctx context.Context, path string, s wire.SecretWrite) error {
	_, err := i.client.writeJSON(ctx, http.MethodPatch, path, s, i.header())
	return err
}

// UpdateBinary is Client.UpdateBinary. ErrChanged, ErrNotFound.
func (i Conditional) UpdateBinary(ctx context.Context, path string, value []byte) error {
	_, err := i.Update(ctx, path, Value{Data: value, Binary: true})
	return err
}

// Delete is Client.Delete. ErrChanged, ErrNotFound.
func (i Conditional) Delete(ctx context.Context, path string) error {
	return i.client.delete(ctx, path, i.header())
}

// header returns the condition. An empty ETag becomes a condition that servers
// refuse, and not a change without a condition.
func (i Conditional) header() http.Header { return http.Header{"If-Match": {i.etag}} }
