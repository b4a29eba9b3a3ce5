package jsondoc

import (
	"bytes"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secretstore/api/internal/problem"
)

// Bounds on the work that a body makes for the parser. Without them a small
// body of many tiny members, or of deep nesting, would cost many times its
// size.
const (
	maxDepth  = 32
	maxTokens = 10_000
)

// Decode decodes a body into T. Anything else is a 400 with the text otherwise.
func Decode[T any](body []byte, otherwise string) (T, error) {
	var zero, v T
	bounded := newDecoder(body)
	if bounded.skip() != nil {
		return zero, problem.BadRequest(otherwise)
	}
	// The error is dropped: it may quote the key that was sent.
	if json.Unmarshal(body, &v) != nil {
		return zero, problem.BadRequest(otherwise)
	}
	return v, nil
}

// decoder counts what it reads, and has errors with constant texts.
type decoder struct {
	*jsontext.Decoder
	tokens int
}

func newDecoder(body []byte) *decoder {
	return &decoder{Decoder: jsontext.NewDecoder(bytes.NewBuffer(body))}
}

func (d *decoder) next() (jsontext.Token, error) {
	d.tokens++
	if d.tokens > maxTokens {
		return jsontext.Token{}, problem.BadRequest(textComplex)
	}
	tok, err := d.ReadToken()
	if err != nil {
		return jsontext.Token{}, problem.BadRequest(textBadJSON)
	}
	if d.StackDepth() > maxDepth {
		return jsontext.Token{}, problem.BadRequest(textComplex)
	}
	return tok, nil
}

// str reads a string into a new slice. It never makes a Go string, which would
// be one more copy of the value.
func (d *decoder) str(otherwise string) ([]byte, error) {
	d.tokens++
	kind := d.PeekKind()
	raw, err := d.ReadValue()
	if err != nil {
		return nil, problem.BadRequest(textBadJSON)
	}
	if kind != '"' {
		return nil, problem.BadRequest(otherwise)
	}
	text, err := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	if err != nil {
		return nil, problem.BadRequest(textBadJSON)
	}
	return text, nil
}

func (d *decoder) strings(otherwise string) ([]string, error) {
	if d.PeekKind() != '[' {
		return nil, problem.BadRequest(otherwise)
	}
	if _, err := d.next(); err != nil {
		return nil, err
	}
	all := []string{}
	for d.PeekKind() != ']' {
		tok, err := d.next()
		if err != nil {
			return nil, err
		}
		if tok.Kind() != '"' {
			return nil, problem.BadRequest(otherwise)
		}
		all = append(all, tok.String())
	}
	_, err := d.next()
	return all, err
}

// skip reads one value, however deep.
func (d *decoder) skip() error {
	depth := d.StackDepth()
	for {
		if _, err := d.next(); err != nil {
			return err
		}
		if d.StackDepth() == depth {
			return nil
		}
	}
}
