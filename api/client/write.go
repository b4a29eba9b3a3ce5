package client

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secretstore/api/wire"
)

// Written describes the value that a write left.
type Written struct {
	// Version of the value; 0 if the server is of an older release, which does
	// not say it.
	Version uint64
	ETag    string // as in Secret
}

// Value is what Create and Update write. The zero Value is an empty text.
type Value struct {
	Data   []byte
	Binary bool // as in Secret
	// Description and Labels: nil leaves those of the secret as they are. A server of
	// an older release refuses them with bytes (ErrBadRequest).
	Description *string
	Labels      *[]string
}

// Create stores a secret that does not exist yet. ErrExists.
func (c *Client) Create(ctx context.Context, path string, v Value) (Written, error) {
	return c.write(ctx, http.MethodPut, path, v, http.Header{})
}

// Update replaces the value of a secret. ErrNotFound.
func (c *Client) Update(ctx context.Context, path string, v Value) (Written, error) {
	return c.write(ctx, http.MethodPatch, path, v, http.Header{})
}

// CreateText is Create of a text.
func (c *Client) CreateText(ctx context.Context, path string, s wire.SecretWrite) error {
	_, err := c.writeJSON(ctx, http.MethodPut, path, s, http.Header{})
	return err
}

// UpdateText is Update with a text.
func (c *Client) UpdateText(ctx context.Context, path string, s wire.SecretWrite) error {
	_, err := c.writeJSON(ctx, http.MethodPatch, path, s, http.Header{})
	return err
}

// CreateBinary is Create of a binary secret.
func (c *Client) CreateBinary(ctx context.Context, path string, value []byte) error {
	_, err := c.Create(ctx, path, Value{Data: value, Binary: true})
	return err
}

// UpdateBinary is Update with bytes.
func (c *Client) UpdateBinary(ctx context.Context, path string, value []byte) error {
	_, err := c.Update(ctx, path, Value{Data: value, Binary: true})
	return err
}

func (c *Client) write(ctx context.Context, method, path string, v Value, h http.Header) (Written, error) {
	if !v.Binary {
		body, err := textBody(v)
		if err != nil {
			return Written{}, err
		}
		defer clear(body)
		return c.writeBody(ctx, method, path, wire.TypeJSON, body, h)
	}
	if v.Description != nil || v.Labels != nil {
		return c.writeJSON(ctx, method, path, wire.BinaryWrite{Value: v.Data, Description: v.Description, Labels: v.Labels}, h)
	}
	return c.writeBody(ctx, method, path, wire.TypeBinary, v.Data, h)
}

// textBody returns the JSON of a text, in the form of wire.SecretWrite: without a Go
// string on the way, which nobody could clear, and without copies. ErrNotText.
func textBody(v Value) ([]byte, error) {
	about, err := json.Marshal(struct {
		Description *string   `json:"description,omitzero"`
		Labels      *[]string `json:"labels,omitzero"`
	}{v.Description, v.Labels})
	if err != nil {
		return nil, fmt.Errorf("encode the secret: %w", ErrNotText)
	}
	size := len(about) + len(`{"value":"",`)
	for _, b := range v.Data {
		size++
		if b < ' ' || b == '"' || b == '\\' {
			size += len(`\u0000`) - 1
		}
	}
	body, err := jsontext.AppendQuote(append(make([]byte, 0, size), `{"value":`...), v.Data)
	if err != nil {
		clear(body)
		return nil, fmt.Errorf("encode the secret: %w", ErrNotText) // the encoder's own error may quote it
	}
	if len(about) > len("{}") {
		return append(append(body, ','), about[1:]...), nil
	}
	return append(body, '}'), nil
}

func (c *Client) writeJSON(ctx context.Context, method, path string, doc any, h http.Header) (Written, error) {
	body, err := json.Marshal(doc)
	if err != nil {
		return Written{}, fmt.Errorf("encode the secret: %w", ErrNotText) // the encoder's own error may quote it
	}
	defer clear(body)
	return c.writeBody(ctx, method, path, wire.TypeJSON, body, h)
}

func (c *Client) writeBody(ctx context.Context, method, path, contentType string, body []byte, h http.Header) (Written, error) {
	if body == nil {
		body = []byte{}
	}
	h.Set("Content-Type", contentType)
	return c.change(ctx, call{method: method, path: c.secret(path), header: h, body: body})
}

// change makes a request that writes or restores a value.
func (c *Client) change(ctx context.Context, k call) (Written, error) {
	ans, err := c.do(ctx, k)
	if err != nil {
		return Written{}, err
	}
	w := Written{ETag: ans.header.Get("ETag")}
	// A server that does not say it is of an older release.
	if version, err := strconv.ParseUint(ans.header.Get(wire.VersionHeader), 10, 63); err == nil {
		w.Version = version
	}
	return w, nil
}
