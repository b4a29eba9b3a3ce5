// Package forms reads and writes many secrets at once, in three forms: a folder
// tree, a JSON document and a dotenv file. The parser of each form refuses ambiguous
// input.
//
// It does not talk to a server, and puts no value into an error: errors name the number
// of the line.
package forms

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"unicode/utf8"

	"secretstore/acl"
)

// Item is one secret.
type Item struct {
	Path   string
	Value  []byte
	Binary bool
	// Description and Labels are nil if the form does not give them.
	Description *string
	Labels      *[]string
	// Earlier are earlier versions, oldest first, with a value and nothing else.
	Earlier []Item
}

// Source is an item whose value is read when it is needed.
type Source struct {
	Path string
	Read func(context.Context) (Item, error)
}

// isText is the rule for values of which only the bytes are known: valid UTF-8
// without NUL is text.
func isText(data []byte) bool { return notText(data) < 0 }

// notText returns where data stops being text, -1 if all of it is.
func notText(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == 0 || r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

// cleanPath returns the canonical form of a path that stands for itself, without
// escapes.
func cleanPath(s string) (string, error) {
	p, err := acl.ParsePath(url.PathEscape(s))
	if err != nil {
		return "", err
	}
	return p.String(), nil
}

// have makes a source of an item that is in memory.
func have(i Item) Source {
	return Source{i.Path, func(context.Context) (Item, error) { return i, nil }}
}

// lineError is a mistake in a document.
type lineError struct {
	line int
	what string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.what) }

// lineAt returns the number of the line in which the byte is.
func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:max(0, min(offset, int64(len(data))))], []byte{'\n'})
}
