package api

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"secretstore/seal"
)

// Bounds on what a body may make the parser do: without them a small body of
// many tiny members or deep nesting would cost many times its size.
const (
	maxDepth  = 32
	maxTokens = 10_000
)

const (
	textBadJSON  = `the body is not a valid JSON object: send {"value":"..."} in UTF-8, each name once, nothing after it`
	textNoValue  = `"value" is missing or not a string: send {"value":"..."}, or raw bytes as application/octet-stream`
	textBadDesc  = `"description" must be a string`
	textBadLabel = `"labels" must be an array of strings`
	textComplex  = "the body is nested too deeply or has too many members"
)

// parseSecret reads the JSON body of a create or an update. It refuses what
// encoding/json lets pass: names that differ only in case, duplicate names,
// invalid UTF-8, lone surrogates, a second document. Members that it does not
// know are skipped, for clients send their own. The value is a copy.
func parseSecret(body []byte) (seal.Change, error) {
	change := seal.Change{Kind: seal.Text}
	d := &boundedDecoder{Decoder: jsontext.NewDecoder(bytes.NewBuffer(body))}
	if d.PeekKind() != '{' {
		return seal.Change{}, badRequest(textBadJSON)
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
		return seal.Change{}, badRequest(textBadJSON)
	}
	if change.Value == nil {
		return seal.Change{}, badRequest(textNoValue)
	}
	return change, nil
}

// boundedDecoder counts what it reads. Its errors have constant texts: those
// of the decoder may quote the input.
type boundedDecoder struct {
	*jsontext.Decoder
	tokens int
}

func (d *boundedDecoder) next() (jsontext.Token, error) {
	d.tokens++
	if d.tokens > maxTokens {
		return jsontext.Token{}, badRequest(textComplex)
	}
	tok, err := d.ReadToken()
	if err != nil {
		return jsontext.Token{}, badRequest(textBadJSON)
	}
	if d.StackDepth() > maxDepth {
		return jsontext.Token{}, badRequest(textComplex)
	}
	return tok, nil
}

// member reads the value of one member of the top object.
func (d *boundedDecoder) member(name string, c *seal.Change) (err error) {
	switch name {
	case "value":
		c.Value, err = d.str(textNoValue)
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
		labels, err := d.strings()
		c.Labels = &labels
		return err
	}
	return d.skip()
}

// str reads a string into bytes of its own: never through a Go string, which
// would be one more copy of the value.
func (d *boundedDecoder) str(otherwise string) ([]byte, error) {
	d.tokens++
	kind := d.PeekKind()
	raw, err := d.ReadValue()
	if err != nil {
		return nil, badRequest(textBadJSON)
	}
	if kind != '"' {
		return nil, badRequest(otherwise)
	}
	text, err := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	if err != nil {
		return nil, badRequest(textBadJSON)
	}
	return text, nil
}

func (d *boundedDecoder) strings() ([]string, error) {
	if d.PeekKind() != '[' {
		return nil, badRequest(textBadLabel)
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
			return nil, badRequest(textBadLabel)
		}
		all = append(all, tok.String())
	}
	_, err := d.next()
	return all, err
}

// skip reads over one value, however deep.
func (d *boundedDecoder) skip() error {
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

// appendSecret appends the JSON form of a text secret. Nothing is escaped that
// JSON does not demand, so a reader gets the bytes that were written.
func appendSecret(b []byte, s *seal.Secret) (_ []byte, err error) {
	b = append(b, `{"value":`...)
	if b, err = jsontext.AppendQuote(b, s.Value); err != nil {
		return nil, errNotText
	}
	if s.Description != "" {
		b = appendMember(b, "description", s.Description)
	}
	if len(s.Labels) > 0 {
		b = append(b, `,"labels":`...)
		b = appendStrings(b, s.Labels)
	}
	if s.Author != "" {
		b = appendMember(b, "author", s.Author)
	}
	if !s.Created.IsZero() {
		b = append(b, `,"created":"`...)
		b = s.Created.UTC().AppendFormat(b, time.RFC3339)
		b = append(b, '"')
	}
	return append(b, '}'), nil
}

// errNotText: the storage holds bytes under the kind Text that are no UTF-8.
var errNotText = errors.New("a text secret is not valid UTF-8")

func appendMember(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	b, _ = jsontext.AppendQuote(b, value) // an error means U+FFFD for what is no UTF-8
	return b
}

func appendStrings(b []byte, all []string) []byte {
	return append(appendNames(append(b, '['), all), ']')
}

// appendNames is appendStrings without the brackets.
func appendNames(b []byte, all []string) []byte {
	for i, s := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, s)
	}
	return b
}
