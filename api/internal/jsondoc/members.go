package jsondoc

import (
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// The errors of [Members]. They repeat nothing of the body.
var (
	ErrSyntax    = errors.New("not one JSON document, or one with a name twice")
	ErrNotObject = errors.New("not a JSON object")
)

// Members calls visit with each member of the object that a body is. A value is as
// it was sent, and a part of the body: copy it to keep it. Errors of visit are
// returned once the rest of the body is known to be good.
func Members(body []byte, visit func(name string, value jsontext.Value) error) error {
	whole := newDecoder(body)
	if whole.skip() != nil {
		return ErrSyntax
	}
	if _, err := whole.ReadToken(); !errors.Is(err, io.EOF) {
		return ErrSyntax
	}
	d := newDecoder(body)
	if d.PeekKind() != '{' {
		return ErrNotObject
	}
	if _, err := d.next(); err != nil {
		return ErrSyntax
	}
	for d.PeekKind() != '}' {
		name, err := d.next()
		if err != nil {
			return ErrSyntax
		}
		text := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return ErrSyntax
		}
		if err := visit(text, value); err != nil {
			return err
		}
	}
	return nil
}
