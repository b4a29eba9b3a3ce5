package forms

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jsonItem is a secret in the document {"path":{…}}: exactly one of both values.
type jsonItem struct {
	Value       *string   `json:"value,omitzero"`
	Binary      *[]byte   `json:"value_base64,omitzero"`
	Description *string   `json:"description,omitzero"`
	Labels      *[]string `json:"labels,omitzero"`
}

// ParseJSON reads the document that a JSONWriter writes. Names that occur twice,
// unknown members and invalid UTF-8 are refused. The sources are sorted by path.
func ParseJSON(data []byte) ([]Source, error) {
	var doc map[string]jsonItem
	if err := json.Unmarshal(data, &doc, json.RejectUnknownMembers(true)); err != nil {
		return nil, jsonError(data, err)
	}
	seen := map[string]bool{}
	var all []Source
	for name, j := range doc {
		path, err := cleanPath(name)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		if seen[path] {
			return nil, fmt.Errorf("%s appears twice", path)
		}
		seen[path] = true
		item := Item{Path: path, Description: j.Description, Labels: j.Labels}
		switch {
		case (j.Value == nil) == (j.Binary == nil):
			return nil, fmt.Errorf(`%s: give it either "value" or "value_base64"`, path)
		case j.Value != nil:
			item.Value = []byte(*j.Value)
		default:
			item.Value, item.Binary = *j.Binary, true
		}
		all = append(all, have(item))
	}
	slices.SortFunc(all, func(a, b Source) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

// jsonError says in which line and secret the decoder stopped, and not what it
// says: it may quote the document.
func jsonError(data []byte, err error) error {
	const what = `not JSON of the form {"path/of/secret":{"value":"…"}} or "value_base64", with "description" and "labels" if wanted, in UTF-8, each name once`
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return &lineError{lineAt(data, e.ByteOffset), secretAt(e.JSONPointer) + what}
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return &lineError{lineAt(data, e.ByteOffset), secretAt(e.JSONPointer) + what}
	}
	return errors.New(what)
}

// secretAt names the secret that a pointer into the document leads to: all may be
// in one line.
func secretAt(p jsontext.Pointer) string {
	for name := range p.Tokens() {
		return fmt.Sprintf("secret %q: ", name)
	}
	return ""
}

// JSONWriter writes one document, item by item.
type JSONWriter struct {
	enc   *jsontext.Encoder
	begun bool
}

// NewJSONWriter begins a document; Close ends it.
func NewJSONWriter(w io.Writer) *JSONWriter {
	return &JSONWriter{enc: jsontext.NewEncoder(w, jsontext.WithIndent("  "))}
}

func (w *JSONWriter) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	return w.enc.WriteToken(jsontext.BeginObject)
}

// Put writes an item. No path may come twice.
func (w *JSONWriter) Put(i Item) error {
	if err := w.begin(); err != nil {
		return err
	}
	j := jsonItem{Description: i.Description, Labels: i.Labels}
	if i.Binary {
		j.Binary = &i.Value
	} else {
		text := string(i.Value)
		j.Value = &text
	}
	if err := w.enc.WriteToken(jsontext.String(i.Path)); err != nil {
		return err
	}
	if json.MarshalEncode(w.enc, j) != nil { // its error may quote the value
		return fmt.Errorf("%s cannot be written as JSON", i.Path)
	}
	return nil
}

// Close ends the document. It does not close the writer below.
func (w *JSONWriter) Close() error {
	if err := w.begin(); err != nil {
		return err
	}
	return w.enc.WriteToken(jsontext.EndObject)
}
