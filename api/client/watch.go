package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"secretstore/api/wire"
)

const (
	// defaultWatch is how long a watch waits by default.
	defaultWatch = time.Minute
	// watchGrace is how much later the answer may come before the connection
	// counts as dead.
	watchGrace = 30 * time.Second
)

// WatchOptions say how a secret is watched. The zero value watches for the
// caller itself.
type WatchOptions struct {
	// Service is as in GetOptions.
	Service *string
	// Timeout is how long the server waits, up to ten minutes; 0 is a minute.
	Timeout time.Duration
}

// Watch waits until the ETag of a secret differs from etag, and returns the
// secret. An empty etag waits for a secret that does not exist yet. It is
// ErrNotFound when the secret is deleted, and ErrNotModified when the time is
// over. No change is missed between two calls, for the server compares ETags.
func (c *Client) Watch(ctx context.Context, path, etag string, o WatchOptions) (Secret, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultWatch
	}
	h := readHeader(o.Service)
	ans, err := c.do(ctx, call{method: http.MethodGet, path: c.secret(path), header: h, limit: o.Timeout + watchGrace,
		query: url.Values{wire.WatchParam: {etag}, wire.TimeoutParam: {o.Timeout.String()}}})
	if err != nil {
		return Secret{}, err
	}
	return secretOf(ans)
}
