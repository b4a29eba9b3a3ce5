package web

import (
	"bytes"
	"encoding/hex"
	"errors"
	"mime"
	"slices"
)

// form is the body of a request, taken apart. Its values are parts of the body: it
// is overwritten as a whole, and secrets in it never become strings.
type form struct {
	body   []byte
	fields []field
}

type field struct {
	name  string
	value []byte // a part of the body
}

// maxFields bounds the fields of a form.
const maxFields = 2000

var (
	errForm       = errors.New("the form is malformed")
	errFormFields = errors.New("the form has too many fields")
)

// parseForm takes the body of a form apart, in place. It understands what browsers
// send: application/x-www-form-urlencoded, and multipart/form-data for files.
func parseForm(contentType string, body []byte) (*form, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, errForm
	}
	f := &form{body: body}
	switch kind {
	case "application/x-www-form-urlencoded":
		err = f.parsePairs()
	case "multipart/form-data":
		err = f.parseParts(params["boundary"])
	default:
		err = errForm
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *form) add(name, value []byte) error {
	if len(f.fields) == maxFields {
		return errFormFields
	}
	f.fields = append(f.fields, field{string(name), value})
	return nil
}

func (f *form) parsePairs() error {
	for rest, more := f.body, len(f.body) > 0; more; {
		var pair []byte
		pair, rest, more = bytes.Cut(rest, []byte{'&'})
		if len(pair) == 0 {
			continue // as package net/url
		}
		name, value, _ := bytes.Cut(pair, []byte{'='})
		name, ok := unescape(name)
		if !ok {
			return errForm
		}
		if value, ok = unescape(value); !ok {
			return errForm
		}
		if err := f.add(name, value); err != nil {
			return err
		}
	}
	return nil
}

// unescape decodes + and %XX in place.
func unescape(s []byte) ([]byte, bool) {
	n := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(s) {
				return nil, false
			}
			var decoded [1]byte
			if _, err := hex.Decode(decoded[:], s[i+1:i+3]); err != nil {
				return nil, false
			}
			c, i = decoded[0], i+2
		}
		s[n] = c
		n++
	}
	clear(s[n:])
	return s[:n:n], true
}

// parseParts reads parts between boundaries, each with its own head.
func (f *form) parseParts(boundary string) error {
	if boundary == "" || len(boundary) > 70 {
		return errForm
	}
	line := []byte("\r\n--" + boundary)
	rest, ok := bytes.CutPrefix(f.body, line[2:])
	for ok {
		if bytes.HasPrefix(rest, []byte("--")) {
			return nil
		}
		if rest, ok = bytes.CutPrefix(rest, []byte("\r\n")); !ok {
			break
		}
		var part, head, value []byte
		if part, rest, ok = bytes.Cut(rest, line); !ok {
			break
		}
		if head, value, ok = bytes.Cut(part, []byte("\r\n\r\n")); !ok {
			break
		}
		name, found := partName(head)
		if !found {
			break
		}
		if err := f.add([]byte(name), value); err != nil {
			return err
		}
	}
	return errForm
}

// partName returns the name of the field in the head of a part. All lines of the head
// have to be as browsers write them.
func partName(head []byte) (found string, ok bool) {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, isField := bytes.Cut(line, []byte{':'})
		if !isField || len(name) == 0 || bytes.ContainsAny(name, " \t\r\n") || bytes.ContainsAny(value, "\r\n") {
			return "", false
		}
		if found != "" || !bytes.EqualFold(name, []byte("Content-Disposition")) {
			continue
		}
		kind, params, err := mime.ParseMediaType(string(bytes.TrimSpace(value)))
		if err != nil || kind != "form-data" || params["name"] == "" {
			return "", false
		}
		found = params["name"]
	}
	return found, found != ""
}

// secret returns the bytes of a field; nil unless there is exactly one. They
// are overwritten at the end of the request.
func (f *form) secret(name string) []byte {
	var found []byte
	for _, x := range f.fields {
		if x.name == name {
			if found != nil {
				return nil
			}
			found = x.value
		}
	}
	return found
}

// text returns a field that is not secret; "" unless there is exactly one.
func (f *form) text(name string) string { return string(f.secret(name)) }

// has reports whether there is a field.
func (f *form) has(name string) bool {
	return slices.ContainsFunc(f.fields, func(x field) bool { return x.name == name })
}

// all returns all fields of a name, such as the boxes that are checked.
func (f *form) all(name string) []string {
	var all []string
	for _, x := range f.fields {
		if x.name == name {
			all = append(all, string(x.value))
		}
	}
	return all
}

// clear overwrites the form.
func (f *form) clear() { clear(f.body) }
