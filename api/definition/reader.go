package definition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a document.
const (
	maxDepth  = 64
	maxTokens = 50_000
	// maxNames bounds definitions, entries of "secrets", references and
	// containers, all together.
	maxNames = 2000
	// maxName bounds each name in bytes, and maxFilePath the path of a file: an
	// answer repeats them, some once for each container of a pod.
	maxName     = 256
	maxFilePath = 1024
)

// Error says what is wrong with a document, and where. It repeats nothing of
// the document but the names of members that this package knows.
type Error struct {
	Where string // such as [2].container.volumes[0].secret; "" for all of it
	What  string
}

func (e *Error) Error() string {
	if e.Where == "" {
		return "the definition " + e.What
	}
	return "the definition cannot be read: " + strings.TrimPrefix(e.Where, ".") + " " + e.What
}

func bad(where, what string) error { return &Error{where, what} }

const (
	textNotJSON = "is not valid JSON: send one app, pod or job, or an array of them, in UTF-8, each name once in an object, nothing after it"
	textComplex = "is nested too deeply or has too many members: send fewer definitions at once"
	textTooMany = "names too many secrets: send fewer definitions at once"
)

// validate reads the whole document. It accepts one JSON value with distinct
// names, in valid UTF-8, within the bounds. The functions below read parts of
// it and need not check the syntax again.
func validate(doc []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(doc))
	for tokens := 0; ; tokens++ {
		if tokens == maxTokens {
			return bad("", textComplex)
		}
		if _, err := d.ReadToken(); err != nil {
			return bad("", textNotJSON)
		}
		if d.StackDepth() > maxDepth {
			return bad("", textComplex)
		}
		if d.StackDepth() == 0 {
			break
		}
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return bad("", textNotJSON)
	}
	return nil
}

// absent reports whether a member is missing or null. Marathon writes null for
// members that are not set.
func absent(raw jsontext.Value) bool { return len(raw) == 0 || raw.Kind() == 'n' }

// object calls each with the members of an object. An absent one has none.
func object(raw jsontext.Value, where string, each func(name string, value jsontext.Value) error) error {
	if absent(raw) {
		return nil
	}
	if raw.Kind() != '{' {
		return bad(where, "must be an object")
	}
	d := partDecoder(raw)
	if _, err := d.ReadToken(); err != nil {
		return bad(where, textNotJSON)
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return bad(where, textNotJSON)
		}
		text := name.String()
		value, err := part(d, raw)
		if err != nil {
			return bad(where, textNotJSON)
		}
		if err := each(text, value); err != nil {
			return err
		}
	}
	return nil
}

// pick returns the values of the named members, nil for a missing one.
func pick(raw jsontext.Value, where string, names ...string) ([]jsontext.Value, error) {
	found := make([]jsontext.Value, len(names))
	err := object(raw, where, func(name string, value jsontext.Value) error {
		for i, n := range names {
			if n == name {
				found[i] = value
			}
		}
		return nil
	})
	return found, err
}

// array calls each with the items of an array. An absent one has none.
func array(raw jsontext.Value, where string, each func(where string, value jsontext.Value) error) error {
	if absent(raw) {
		return nil
	}
	if raw.Kind() != '[' {
		return bad(where, "must be an array")
	}
	d := partDecoder(raw)
	if _, err := d.ReadToken(); err != nil {
		return bad(where, textNotJSON)
	}
	for i := 0; d.PeekKind() != ']'; i++ {
		value, err := part(d, raw)
		if err != nil {
			return bad(where, textNotJSON)
		}
		if err := each(fmt.Sprintf("%s[%d]", where, i), value); err != nil {
			return err
		}
	}
	return nil
}

// partDecoder reads a part of a document that has been validated.
func partDecoder(raw jsontext.Value) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
}

// part reads the next value as a part of raw, without a copy.
func part(d *jsontext.Decoder, raw jsontext.Value) (jsontext.Value, error) {
	value, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	end := d.InputOffset()
	return raw[end-int64(len(value)) : end], nil
}

// text reads a string of at most limit bytes; ok is false if it is absent.
func text(raw jsontext.Value, where string, limit int) (s string, ok bool, err error) {
	if absent(raw) {
		return "", false, nil
	}
	if raw.Kind() != '"' {
		return "", false, bad(where, "must be a string")
	}
	// Checked before it is copied: an escape takes at most six bytes.
	if len(raw) > 6*limit+2 {
		return "", false, tooLong(where, limit)
	}
	plain, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", false, bad(where, textNotJSON)
	}
	if len(plain) > limit {
		return "", false, tooLong(where, limit)
	}
	return string(plain), true, nil
}

func tooLong(where string, limit int) error {
	return bad(where, fmt.Sprintf("is longer than %d bytes", limit))
}
