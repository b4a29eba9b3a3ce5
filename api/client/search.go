package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"secretstore/api/wire"
)

// Search returns a page of the names below a folder that contain a text, in upper or
// lower case: at most limit (1 to wire.MaxListLimit) that are greater than after. It
// finds what lists show the caller, who need not be allowed to list all of the folder.
// ErrNotFound or another error of Get if the server is of an older release, which
// cannot search.
func (c *Client) Search(ctx context.Context, folder, text, after string, limit int) (wire.Found, error) {
	return c.found(ctx, folder, pageQuery(wire.SearchParam, text, after, limit))
}

func (c *Client) found(ctx context.Context, folder string, query url.Values) (wire.Found, error) {
	found, err := doJSON[wire.Found](ctx, c, call{method: http.MethodGet, path: c.secret(folder), query: query}, nil)
	if err == nil && found.Array == nil {
		return wire.Found{}, errNotJSON // a server of an older release may answer with the secret of that name
	}
	return found, err
}

// Children returns a page of the secrets in a folder and of the folders below it, with
// the number of secrets in each of these. The rest is as in Search.
func (c *Client) Children(ctx context.Context, folder, after string, limit int) (wire.Children, error) {
	return c.children(ctx, folder, pageQuery("children", "true", after, limit))
}

func (c *Client) children(ctx context.Context, folder string, query url.Values) (wire.Children, error) {
	entries, err := doJSON[wire.Children](ctx, c, call{method: http.MethodGet, path: c.secret(folder), query: query}, nil)
	if err == nil && entries.Array == nil {
		return wire.Children{}, errNotJSON
	}
	return entries, err
}

// pageQuery asks for a page of a list in the form that a parameter names.
func pageQuery(form, value, after string, limit int) url.Values {
	q := url.Values{form: {value}, "limit": {strconv.Itoa(limit)}}
	if after != "" {
		q.Set("after", after)
	}
	return q
}

// Detailed reads pages with details of the secrets, of at most wire.MaxDetailsLimit
// entries. A server of an older release returns no details.
type Detailed struct{ c *Client }

// Detailed reads pages with details.
func (c *Client) Detailed() Detailed { return Detailed{c} }

// Search is [Client.Search].
func (d Detailed) Search(ctx context.Context, folder, text, after string, limit int) (wire.Found, error) {
	return d.c.found(ctx, folder, withDetails(pageQuery(wire.SearchParam, text, after, limit)))
}

// Children is [Client.Children].
func (d Detailed) Children(ctx context.Context, folder, after string, limit int) (wire.Children, error) {
	return d.c.children(ctx, folder, withDetails(pageQuery("children", "true", after, limit)))
}

// ListDeletedPage is [Client.ListDeletedPage].
func (d Detailed) ListDeletedPage(ctx context.Context, folder, after string, limit int) (wire.List, error) {
	return d.c.page(ctx, folder, withDetails(pageQuery("deleted", "true", after, limit)))
}

func withDetails(q url.Values) url.Values {
	q.Set(wire.DetailsParam, "true")
	return q
}
