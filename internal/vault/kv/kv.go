// Package kv reads the decrypted records of the KV secrets engines of Vault. It does
// no I/O. Values stay in byte slices, which the caller should clear.
package kv

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxDepth bounds the nesting of an object.
	maxDepth = 64
	// maxMembers bounds the members of an object.
	maxMembers = 10_000
)

// ErrObject: the data of a secret is not one JSON object in UTF-8 with unique names.
var ErrObject = errors.New("is not a JSON object that can be read: it has at most 10,000 members with unique names, 64 levels, and is UTF-8")

// Object is the data of a secret: a JSON object. Numbers keep every digit.
type Object struct {
	text    []byte
	Members []Member // as they were written
}

// Member is one member of an Object.
type Member struct {
	Name  string
	Value []byte // JSON, without white space
}

// ParseObject reads the data of a secret. It does not keep data.
func ParseObject(data []byte) (Object, error) {
	if tooDeep(data) {
		return Object{}, ErrObject
	}
	text := jsontext.Value(bytes.Clone(data))
	o := Object{text: text}
	// The default is minimal: no white space, the shortest strings, unchanged numbers.
	if text.Format() != nil || text.Kind() != '{' {
		clear(o.text)
		return Object{}, ErrObject
	}
	o.text = text
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	_, err := d.ReadToken()
	for err == nil && d.PeekKind() != '}' {
		var name jsontext.Token
		if name, err = d.ReadToken(); err != nil {
			break
		}
		m := Member{Name: name.String()}
		var value jsontext.Value
		if value, err = d.ReadValue(); err == nil {
			m.Value = bytes.Clone(value)
			o.Members = append(o.Members, m)
		}
		if len(o.Members) > maxMembers {
			err = ErrObject
		}
	}
	if err != nil {
		o.Clear()
		return Object{}, ErrObject
	}
	return o, nil
}

// tooDeep reports whether data nests deeper than maxDepth, before the parser follows.
func tooDeep(data []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// JSON returns the object as compact JSON. It is valid until Clear.
func (o Object) JSON() []byte { return o.text }

// Member returns the member with a name.
func (o Object) Member(name string) (Member, bool) {
	for _, m := range o.Members {
		if m.Name == name {
			return m, true
		}
	}
	return Member{}, false
}

// Clear overwrites the values.
func (o Object) Clear() {
	clear(o.text)
	for _, m := range o.Members {
		clear(m.Value)
	}
}

// Kind is the JSON type of a member: "string", "number", "boolean", "null", "object"
// or "array".
func (m Member) Kind() string {
	switch jsontext.Value(m.Value).Kind() {
	case '"':
		return "string"
	case '0':
		return "number"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	case '{':
		return "object"
	}
	return "array"
}

// Text returns a string without its quotes, and other values as JSON. The result is
// a copy.
func (m Member) Text() []byte {
	if m.Kind() != "string" {
		return bytes.Clone(m.Value)
	}
	text, err := jsontext.AppendUnquote([]byte(nil), m.Value)
	if err != nil {
		panic("internal error: " + m.Kind() + " does not unquote") // ParseObject has read it
	}
	return text
}

// maxExact is the first whole number beyond which those of a float64 have gaps, in
// decimal.
const maxExact = "9007199254740992"

// HasBigInteger reports whether a whole number in the object may have been rounded to
// the precision of a float64.
func (o Object) HasBigInteger() bool {
	d := jsontext.NewDecoder(bytes.NewBuffer(o.text))
	for {
		t, err := d.ReadToken()
		if err != nil {
			return false
		}
		if t.Kind() != '0' {
			continue
		}
		n := t.String()
		if n[0] == '-' {
			n = n[1:]
		}
		if len(n) > len(maxExact) || len(n) == len(maxExact) && n >= maxExact {
			return true
		}
	}
}
