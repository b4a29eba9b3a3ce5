package client

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"secretstore/api/wire"
)

// Resolution is all secrets that the tasks of some definitions need.
type Resolution struct {
	// Definitions are in the order in which they were sent.
	Definitions []wire.Resolved
	// Age is as in Secret, of the oldest value.
	Age time.Duration
}

// ResolveOptions say how definitions are resolved.
type ResolveOptions struct {
	// Latest asks the storage itself, not a cache.
	Latest bool
}

// Resolve fetches all secrets of a Marathon app or pod, a Metronome job, a
// wire.ResolveRequest, or an array of these, in JSON. It gets all of them or
// none: ErrUnresolvable. The answer consumes a use of a task token, so
// Config.Retries treats the request as a change.
func (c *Client) Resolve(ctx context.Context, definition []byte, o ResolveOptions) (Resolution, error) {
	k := c.batch("/resolve", definition, o.Latest)
	k.resolves = true
	ans, err := c.do(ctx, k)
	if err != nil {
		return Resolution{}, err
	}
	r := Resolution{Age: ageOf(ans.header)}
	if body := bytes.TrimLeft(ans.body, " \t\r\n"); len(body) > 0 && body[0] == '[' {
		err = json.Unmarshal(ans.body, &r.Definitions)
	} else {
		r.Definitions = make([]wire.Resolved, 1)
		err = json.Unmarshal(ans.body, &r.Definitions[0])
	}
	if err != nil {
		return Resolution{}, errNotJSON // dropped: it may quote the answer
	}
	return r, nil
}

// ResolveSecrets is Resolve for the secrets of a service, under names that the
// caller chooses.
func (c *Client) ResolveSecrets(ctx context.Context, r wire.ResolveRequest, o ResolveOptions) (Resolution, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return Resolution{}, fmt.Errorf("encode the request: %w", ErrNotText)
	}
	return c.Resolve(ctx, body, o)
}

// Check returns everything that would keep the tasks of a definition, as in
// Resolve, from their secrets, and probable mistakes. It is empty if there is
// nothing.
func (c *Client) Check(ctx context.Context, definition []byte) ([]wire.Finding, error) {
	k := c.batch("/check", definition, false)
	k.reads = true
	ans, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	var doc wire.Findings
	if json.Unmarshal(ans.body, &doc) != nil || doc.Findings == nil {
		return nil, errNotJSON
	}
	return doc.Findings, nil
}

func (c *Client) batch(path string, definition []byte, latest bool) call {
	h := http.Header{"Content-Type": {wire.TypeJSON}}
	if latest {
		h.Set("Cache-Control", "no-cache")
	}
	if definition == nil {
		definition = []byte{}
	}
	return call{method: http.MethodPost, path: c.ofStore(path), header: h, body: definition}
}
