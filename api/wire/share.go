package wire

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// Share is an unseal key or one share of it, as its holder's gpg prints it. In
// JSON it is a string. It is a byte slice so that its holder can clear it; nil
// is none.
type Share []byte

// errNotShare repeats nothing of what was sent.
var errNotShare = errors.New("a share must be a string")

// UnmarshalJSON reads a JSON string into a new slice, without a Go string on
// the way. null changes nothing.
func (s *Share) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	share, err := jsontext.AppendUnquote(make([]byte, 0, len(text)), text)
	if err != nil {
		clear(share)
		return errNotShare
	}
	*s = share
	return nil
}

// MarshalJSON returns the share as a JSON string.
func (s Share) MarshalJSON() ([]byte, error) {
	text, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return nil, errNotShare
	}
	return text, nil
}

// Shares converts texts, for a client.
func Shares(texts []string) (all []Share) {
	for _, text := range texts {
		all = append(all, Share(text))
	}
	return all
}

// String keeps the share out of logs and errors.
func (s Share) String() string { return "share(hidden)" }

// GoString keeps the share out of %#v.
func (s Share) GoString() string { return s.String() }
