package jsondoc

import (
	"encoding/base64"
	"errors"
	"io"
	"time"

	"secretstore/api/internal/problem"
	"secretstore/seal"
)

const (
	textBadJSON  = `the body is not a valid JSON object: send {"value":"..."} in UTF-8, each name once, nothing after it`
	textNoValue  = `"value" is missing or not a string: send {"value":"..."}, or raw bytes as application/octet-stream`
	textTwice    = `the body has both "value" and "value_base64": send "value" for a text, "value_base64" for bytes`
	textBase64   = `"value_base64" must be a string in base64, with padding`
	textBadDesc  = `"description" must be a string`
	textBadLabel = `"labels" must be an array of strings`
	textComplex  = "the body is nested too deeply or has too many members"
)

// ParseSecret reads the JSON body of a create or an update. The value is a
// copy.
func ParseSecret(body []byte) (seal.Change, error) {
	change := seal.Change{Kind: seal.Text}
	d := newDecoder(body)
	if d.PeekKind() != '{' {
		return seal.Change{}, problem.BadRequest(textBadJSON)
	}
	if _, err := d.next(); err != nil {
		return seal.Change{}, err
	}
	for d.PeekKind() != '}' {
		name, err := d.next()
		if err != nil {
			return seal.Change{}, err
		}
		if err := d.member(name.String(), &change); err != nil {
			return seal.Change{}, err
		}
	}
	if _, err := d.next(); err != nil {
		return seal.Change{}, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return seal.Change{}, problem.BadRequest(textBadJSON)
	}
	if change.Value == nil {
		return seal.Change{}, problem.BadRequest(textNoValue)
	}
	return change, nil
}

// decodeBase64 decodes in place.
func decodeBase64(text []byte) ([]byte, error) {
	n, err := base64.StdEncoding.Strict().Decode(text, text)
	clear(text[n:])
	if err != nil {
		clear(text)
		return nil, problem.BadRequest(textBase64)
	}
	return text[:n], nil
}

// member reads the value of one member of the top object.
func (d *decoder) member(name string, c *seal.Change) (err error) {
	switch name {
	case "value", "value_base64":
		if c.Value != nil {
			return problem.BadRequest(textTwice)
		}
		if name == "value" {
			c.Value, err = d.str(textNoValue)
			return err
		}
		text, err := d.str(textBase64)
		if err != nil {
			return err
		}
		c.Kind = seal.Binary
		c.Value, err = decodeBase64(text)
		return err
	case "description":
		if d.PeekKind() == 'n' {
			return d.skip()
		}
		raw, err := d.str(textBadDesc)
		text := string(raw)
		c.Description = &text
		return err
	case "labels":
		if d.PeekKind() == 'n' {
			return d.skip()
		}
		labels, err := d.strings(textBadLabel)
		c.Labels = &labels
		return err
	}
	return d.skip()
}

// Secret returns a text secret in the form of wire.Secret.
func Secret(s *seal.Secret) ([]byte, error) {
	// Room for the value and its metadata; a value full of escapes grows.
	b := make([]byte, 0, len(s.Value)+len(s.Value)/8+len(s.Description)+192)
	b, err := AppendText(append(b, `{"value":`...), s.Value)
	if err != nil {
		return nil, err
	}
	if s.Description != "" {
		b = AppendMember(b, "description", s.Description)
	}
	if len(s.Labels) > 0 {
		b = append(b, `,"labels":[`...)
		b = append(AppendNames(b, s.Labels), ']')
	}
	if s.Author != "" {
		b = AppendMember(b, "author", s.Author)
	}
	if !s.Created.IsZero() {
		b = append(b, `,"created":"`...)
		b = s.Created.UTC().AppendFormat(b, time.RFC3339)
		b = append(b, '"')
	}
	return append(b, '}'), nil
}
