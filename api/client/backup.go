package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"secretstore/api/wire"
)

// Backup writes a backup of the store to w, as the server sends it; with
// bootstrapKey also the private key that unseals the store, if the storage keeps
// one. After an error, what was written is not a complete backup. ErrForbidden.
func (c *Client) Backup(ctx context.Context, w io.Writer, bootstrapKey bool) error {
	k := call{method: http.MethodGet, path: c.ofStore("/backup"), header: http.Header{"Accept": {wire.TypeBackup}}}
	if bootstrapKey {
		k.query = url.Values{"bootstrap_key": {"true"}}
	}
	res, err := atServers(ctx, c, k, c.send)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("receive the backup: %w", err)
	}
	return nil
}
