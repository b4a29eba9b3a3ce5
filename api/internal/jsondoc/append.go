package jsondoc

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// errNotText means that the storage holds bytes that are not UTF-8 under the
// kind Text.
var errNotText = errors.New("a text secret is not valid UTF-8")

// AppendText appends the value of a text secret as a JSON string. It escapes
// only what JSON demands, so that a reader gets the bytes that were written.
func AppendText(b, value []byte) ([]byte, error) {
	b, err := jsontext.AppendQuote(b, value)
	if err != nil {
		return nil, errNotText
	}
	return b, nil
}

// AppendString appends a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // it appends U+FFFD where it returns an error
	return b
}

// AppendMember appends a comma and a member.
func AppendMember(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return AppendString(b, value)
}

// AppendNames appends strings with commas between them, without the brackets of
// an array.
func AppendNames(b []byte, all []string) []byte {
	for i, s := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, s)
	}
	return b
}

// List returns a whole list in the form of wire.List.
func List(names []string, next string, incomplete bool) []byte {
	size := 64 + len(next)
	for _, n := range names {
		size += len(n) + 3
	}
	b := append(make([]byte, 0, size), `{"array":[`...)
	b = append(AppendNames(b, names), ']')
	if next != "" {
		b = AppendMember(b, "next", next)
	}
	return EndList(b, incomplete)
}

// EndList ends a wire.List after its array.
func EndList(b []byte, incomplete bool) []byte {
	if incomplete {
		b = append(b, `,"incomplete":true`...)
	}
	return append(b, '}')
}
