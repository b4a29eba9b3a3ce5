package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"secretstore/api/wire"
)

const (
	// defaultWatch is how long a watch waits where nothing is said.
	defaultWatch = time.Minute
	// watchGrace is how much later than that the answer may come; then the
	// connection counts as dead.
	watchGrace = 30 * time.Second
)

// WatchOptions say how a secret is watched. The zero value does for oneself.
type WatchOptions struct {
	// Service is as in GetOptions.
	Service *string
	// Timeout is how long the server waits, up to ten minutes; 0 is a minute.
	Timeout time.Duration
}

// Watch waits until a secret is not the one that etag names, and returns it; an
// empty etag says that it does not exist, as far as the caller knows. It is
// ErrNotFound once it is deleted, and ErrNotModified if the time passes before.
// Nothing is missed between one call and the next: the server compares.
func (c *Client) Watch(ctx context.Context, path, etag string, o WatchOptions) (Secret, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultWatch
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout+watchGrace)
	defer cancel()
	h := readHeader(o.Service)
	ans, err := c.do(ctx, call{method: http.MethodGet, path: c.secret(path), header: h,
		query: url.Values{wire.WatchParam: {etag}, wire.TimeoutParam: {o.Timeout.String()}}})
	if err != nil {
		return Secret{}, err
	}
	return secretOf(ans)
}
