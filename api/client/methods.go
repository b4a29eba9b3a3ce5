package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secretstore/api/wire"
)

// Secret is one secret.
type Secret struct {
	Value []byte
	// Binary: it is stored as bytes, not as text.
	Binary bool
	// ETag identifies the value, for IfMatch and GetOptions.IfNoneMatch. Each
	// write changes it.
	ETag string
	// Of a binary secret, Get leaves these out, and GetWhole has the first two.
	Description string
	Labels      []string
	Author      string
	Created     time.Time // zero if not known
	// Age is how long ago the storage last confirmed this answer; 0 while it is
	// reachable. The server rounds it up to seconds.
	Age time.Duration
}

// GetOptions say how a secret is read. The zero value reads the current value
// for the caller itself.
type GetOptions struct {
	// Service, if not nil, is the service on whose behalf the secret is read;
	// "" is the root service.
	Service *string
	// Latest asks the storage itself, not a cache.
	Latest bool
	// IfNoneMatch is the ETag of the value that the caller has, or "". If the
	// value is still the same, the result is ErrNotModified.
	IfNoneMatch string
	// Version is the version of the secret; 0 is the current one.
	Version uint64
}

// Get reads a secret.
func (c *Client) Get(ctx context.Context, path string, o GetOptions) (Secret, error) {
	h := readHeader(o.Service)
	if o.Latest {
		h.Set("Cache-Control", "no-cache")
	}
	if o.IfNoneMatch != "" {
		h.Set("If-None-Match", o.IfNoneMatch)
	}
	k := call{method: http.MethodGet, path: c.secret(path), header: h}
	if o.Version != 0 {
		k.query = versionQuery(o.Version)
	}
	ans, err := c.do(ctx, k)
	if err != nil {
		return Secret{}, err
	}
	return secretOf(ans)
}

// GetWhole reads the current value of a secret with its description and labels. Those
// of a binary secret take a second request; a service may not make it (ErrDenied), and
// a server of an older release does not return them.
func (c *Client) GetWhole(ctx context.Context, path string) (Secret, error) {
	for range wholeAttempts {
		s, err := c.Get(ctx, path, GetOptions{Latest: true})
		if err != nil || !s.Binary {
			return s, err
		}
		versions, err := c.Versions(ctx, path)
		if err != nil {
			return Secret{}, err
		}
		if len(versions.Versions) > 0 && versions.Versions[0].ETag == s.ETag {
			s.Description, s.Labels = versions.Description, versions.Labels
			return s, nil
		}
	}
	return Secret{}, ErrChanged
}

// wholeAttempts is how often GetWhole tries to see a value and what belongs to it.
const wholeAttempts = 5

// readHeader returns the header of a read, on behalf of service if it is not
// nil.
func readHeader(service *string) http.Header {
	h := http.Header{"Accept": {wire.TypeJSON + ", " + wire.TypeBinary}}
	if service != nil {
		h.Set(wire.ServiceHeader, *service)
	}
	return h
}

// secretOf reads the answer to a read.
func secretOf(ans answer) (Secret, error) {
	age, etag := ageOf(ans.header), ans.header.Get("ETag")
	switch ans.header.Get("Content-Type") {
	case wire.TypeBinary:
		return Secret{Value: ans.body, Binary: true, ETag: etag, Age: age}, nil
	case wire.TypeJSON:
	default:
		return Secret{}, errNotJSON
	}
	defer clear(ans.body)
	var doc struct {
		Value text `json:"value"` // all else is as in the answer
		wire.Secret
	}
	if json.Unmarshal(ans.body, &doc) != nil {
		clear(doc.Value)
		return Secret{}, errNotJSON
	}
	s := Secret{Value: doc.Value, ETag: etag, Description: doc.Description, Labels: doc.Labels, Author: doc.Author, Age: age}
	if doc.Created != "" {
		created, err := time.Parse(time.RFC3339, doc.Created)
		if err != nil {
			clear(s.Value)
			return Secret{}, errNotJSON
		}
		s.Created = created
	}
	return s, nil
}

// text is a value that is a string in JSON, without a Go string on the way: bytes can
// be cleared.
type text []byte

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(quoted []byte) error {
	plain, err := jsontext.AppendUnquote(make([]byte, 0, len(quoted)), quoted)
	if err != nil {
		clear(plain)
		return errNotJSON
	}
	*t = plain
	return nil
}

func ageOf(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Age"))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// Delete removes a secret, which Undelete brings back for 30 days. ErrNotFound.
func (c *Client) Delete(ctx context.Context, path string) error { return c.delete(ctx, path, nil) }

func (c *Client) delete(ctx context.Context, path string, h http.Header) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: c.secret(path), header: h})
	return err
}

// List returns the names of all secrets below a folder, "" for the root,
// relative to it and sorted bytewise. It reads page by page: secrets that are
// created meanwhile may be missing. ErrIncomplete comes with the names that the
// server can list.
func (c *Client) List(ctx context.Context, folder string) ([]string, error) {
	return c.pages(ctx, folder, c.ListPage)
}

// ListDeleted is List of the secrets that were deleted and that Undelete can
// bring back. ErrNotFound if the server is of an older release, which cannot list
// them.
func (c *Client) ListDeleted(ctx context.Context, folder string) ([]string, error) {
	return c.pages(ctx, folder, c.ListDeletedPage)
}

// pages reads a list page by page.
func (c *Client) pages(ctx context.Context, folder string, read func(ctx context.Context, folder, after string, limit int) (wire.List, error)) ([]string, error) {
	all := []string{}
	var incomplete error
	for after := ""; ; {
		page, err := read(ctx, folder, after, wire.MaxListLimit)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Array...)
		if page.Incomplete {
			incomplete = ErrIncomplete
		}
		if page.Next == "" {
			return all, incomplete
		}
		if page.Next <= after {
			return nil, errNotJSON // a server that would make this loop endless
		}
		after = page.Next
	}
}

// ListPage returns at most limit names (1 to wire.MaxListLimit) that are
// greater than after.
func (c *Client) ListPage(ctx context.Context, folder, after string, limit int) (wire.List, error) {
	return c.page(ctx, folder, pageQuery("list", "true", after, limit))
}

// ListDeletedPage is ListPage of deleted secrets, as in ListDeleted. It may
// return fewer names although another page follows.
func (c *Client) ListDeletedPage(ctx context.Context, folder, after string, limit int) (wire.List, error) {
	return c.page(ctx, folder, pageQuery("deleted", "true", after, limit))
}

func (c *Client) page(ctx context.Context, folder string, query url.Values) (wire.List, error) {
	list, err := doJSON[wire.List](ctx, c, call{method: http.MethodGet, path: c.secret(folder), query: query}, nil)
	if err == nil && list.Array == nil {
		return wire.List{}, errNotJSON // a server of an older release may answer with the secret of that name
	}
	return list, err
}

// Stores describes all stores of the server.
func (c *Client) Stores(ctx context.Context) ([]wire.Backend, error) {
	doc, err := doJSON[wire.Backends](ctx, c, call{one: true, method: http.MethodGet, path: "/store"}, nil)
	return doc.Array, err
}

// Status describes the client's store.
func (c *Client) Status(ctx context.Context) (wire.Backend, error) {
	return doJSON[wire.Backend](ctx, c, call{one: true, method: http.MethodGet, path: c.ofStore("/store")}, nil)
}

// SealStatus returns the seal status.
func (c *Client) SealStatus(ctx context.Context) (wire.SealStatus, error) {
	return doJSON[wire.SealStatus](ctx, c, call{one: true, method: http.MethodGet, path: c.ofStore("/seal-status")}, nil)
}

// InitInfo returns the encrypted unseal keys. Superusers only.
func (c *Client) InitInfo(ctx context.Context) (wire.InitInfo, error) {
	return doJSON[wire.InitInfo](ctx, c, call{one: true, method: http.MethodGet, path: c.ofStore("/init")}, nil)
}

// Init makes the keys of an empty store, and leaves it sealed. Superusers only.
func (c *Client) Init(ctx context.Context, r wire.InitRequest) (wire.InitResult, error) {
	return doJSON[wire.InitResult](ctx, c, call{one: true, method: http.MethodPut, path: c.ofStore("/init")}, r)
}

// Unseal sends the unseal key or one share of it, as gpg prints it. The status
// says whether more shares are needed. Superusers only.
func (c *Client) Unseal(ctx context.Context, key string) (wire.SealStatus, error) {
	return c.UnsealWith(ctx, wire.Share(key))
}

// UnsealWith is Unseal with bytes, which the caller can clear.
func (c *Client) UnsealWith(ctx context.Context, share wire.Share) (wire.SealStatus, error) {
	body, err := json.Marshal(wire.UnsealRequest{Key: share})
	if err != nil {
		return wire.SealStatus{}, ErrNotText
	}
	defer clear(body)
	k := call{one: true, method: http.MethodPut, path: c.ofStore("/unseal"), header: http.Header{"Content-Type": {wire.TypeJSON}}, body: body}
	return doJSON[wire.SealStatus](ctx, c, k, nil)
}

// ResetUnseal makes the server forget the shares entered so far. Superusers
// only.
func (c *Client) ResetUnseal(ctx context.Context) (wire.SealStatus, error) {
	return doJSON[wire.SealStatus](ctx, c, call{one: true, method: http.MethodPut, path: c.ofStore("/unseal")}, wire.UnsealRequest{Reset: true})
}

// AutoUnseal unseals with the bootstrap key in the storage. encrypted is a key
// of InitInfo, or "" for the one in the storage. Superusers only.
func (c *Client) AutoUnseal(ctx context.Context, encrypted string) (wire.SealStatus, error) {
	k := call{one: true, method: http.MethodPut, path: c.ofStore("/auto-unseal")}
	if encrypted == "" {
		return doJSON[wire.SealStatus](ctx, c, k, nil)
	}
	return doJSON[wire.SealStatus](ctx, c, k, wire.KeyRequest{Key: encrypted})
}

// Seal makes the server, and all others on its storage, drop their keys.
// Superusers only.
func (c *Client) Seal(ctx context.Context) (wire.SealStatus, error) {
	return doJSON[wire.SealStatus](ctx, c, call{one: true, method: http.MethodPut, path: c.ofStore("/seal")}, nil)
}

// TaskToken makes a short-lived token for the tasks of one service. ErrDenied
// without the permission to fetch secrets on its behalf.
func (c *Client) TaskToken(ctx context.Context, r wire.TaskTokenRequest) (wire.TaskToken, error) {
	return doJSON[wire.TaskToken](ctx, c, call{method: http.MethodPost, path: c.ofStore("/task-token")}, r)
}

// Ping asks whether the server and its storage answer. It needs no token.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.do(ctx, call{one: true, method: http.MethodGet, path: "/ping/backends/" + url.PathEscape(c.store)})
	return err
}

// Ready asks whether secrets can be served. It needs no token.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.Readiness(ctx)
	return err
}

// Readiness is Ready, with what the server says although it is ready: "ready", or
// also what keeps secrets from being written.
func (c *Client) Readiness(ctx context.Context) (string, error) {
	a, err := c.do(ctx, call{one: true, method: http.MethodGet, path: "/ready", root: true})
	return strings.TrimSpace(string(a.body)), err
}

func (c *Client) ofStore(path string) string { return path + "/" + url.PathEscape(c.store) }

func (c *Client) secret(path string) string { return c.ofStore("/secret") + escapePath(path) }
