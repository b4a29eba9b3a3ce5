package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
)

// Versions lists the versions of a secret, newest first. The secret may be
// deleted, as long as it can be undeleted. ErrNotFound.
func (c *Client) Versions(ctx context.Context, path string) (wire.Versions, error) {
	return doJSON[wire.Versions](ctx, c, call{method: http.MethodGet, path: c.secret(path), query: url.Values{"versions": {"true"}}}, nil)
}

// DeleteVersion removes one earlier version of a secret, deleted or not.
// ErrNotFound; ErrBadRequest for the newest version.
func (c *Client) DeleteVersion(ctx context.Context, path string, version uint64) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: c.secret(path), query: versionQuery(version)})
	return err
}

// Undelete restores a deleted secret. ErrNotFound if there is none; ErrExists
// if another has been created in its place.
func (c *Client) Undelete(ctx context.Context, path string) (Written, error) {
	return c.change(ctx, call{method: http.MethodPut, path: c.ofStore("/undelete") + escapePath(path)})
}

// CreateWhole stores a secret of another store with its earlier versions, and with
// its times and numbers; a deleted one can then be undeleted. It needs a superuser.
// ErrExists; ErrNotFound if the server is of an older release.
func (c *Client) CreateWhole(ctx context.Context, path string, s wire.WholeSecret) (Written, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return Written{}, fmt.Errorf("encode the secret: %w", ErrNotText) // the encoder's own error may quote it
	}
	defer clear(body)
	return c.change(ctx, call{method: http.MethodPut, path: c.ofStore("/history") + escapePath(path), header: http.Header{"Content-Type": {wire.TypeJSON}}, body: body})
}

// Purge removes a secret, deleted or not, for good: it cannot be undeleted.
// ErrNotFound.
func (c *Client) Purge(ctx context.Context, path string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: c.secret(path), query: url.Values{"purge": {"true"}}})
	return err
}

func versionQuery(version uint64) url.Values {
	return url.Values{"version": {strconv.FormatUint(version, 10)}}
}
