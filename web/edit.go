package web

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"secretstore/api/client"
	"secretstore/internal/linediff"
)

// editor is the data of the pages on which a secret is written.
type editor struct {
	Path string
	// ETag is that of the value that is replaced; "" replaces any value.
	ETag        string
	Known       bool // description and labels are those of the secret
	Description string
	Labels      string // one on each line
	// DescriptionWas and LabelsWas are what the editor showed first, if Known: what nobody
	// has changed is not written, since a form does not keep every character.
	DescriptionWas, LabelsWas string
	Problem                   string
	Conflict                  *conflict
	Marker                    string // where the value is, see visit.slot
	About                     string
	// Hidden: the value is not in the editor, so that an empty text is an oversight.
	Hidden bool
	HasCR  bool
	HasNUL bool
	JSON   bool // the value must be JSON
}

// conflict is what somebody else has changed since the editor was opened.
type conflict struct {
	From, To uint64 // versions
	Masked   string // the difference without the lines of the values
}

// showNewSecret shows an empty editor.
func showNewSecret(v *visit) error {
	e := &editor{Path: v.query("path"), About: about(nil)}
	if folder := strings.Trim(v.query("folder"), "/"); e.Path == "" && folder != "" {
		e.Path = folder + "/"
	}
	return v.show("secret-new", e)
}

func createSecret(v *visit) error {
	e, value := v.readEditor()
	if e.Problem == "" {
		_, err := v.api.Create(v.ctx(), e.Path, value)
		var refused *client.Error
		switch {
		case err == nil:
			return v.redirect("created", "secret", "path", e.Path)
		case errors.As(err, &refused) && !errors.Is(err, client.ErrUnauthorized):
			e.Problem = sentence(refused.Description)
		default:
			return err
		}
	}
	return v.editAgain(e, value.Data, "secret-new", "New secret")
}

// showEditor shows an editor without the value, for those who may not read it or do
// not need it.
func showEditor(v *visit) error {
	return v.show("secret-edit", &editor{Path: v.pathOfSecret(), Hidden: true, About: about(nil)})
}

// editSecret shows the editor with the value, or saves what was written.
func editSecret(v *visit) error {
	if v.form.text("do") == "load" {
		return v.loadEditor()
	}
	e, value := v.readEditor()
	if e.Problem != "" {
		return v.editAgain(e, value.Data, "secret-edit", v.page.title)
	}
	var err error
	if e.ETag != "" {
		_, err = v.api.IfMatch(e.ETag).Update(v.ctx(), e.Path, value)
	} else {
		_, err = v.api.Update(v.ctx(), e.Path, value)
	}
	var refused *client.Error
	switch {
	case err == nil:
		return v.redirect("saved", "secret", "path", e.Path)
	case errors.Is(err, client.ErrChanged):
		if err := v.explainConflict(e); err != nil {
			return err
		}
	case errors.As(err, &refused) && !errors.Is(err, client.ErrUnauthorized):
		e.Problem = sentence(refused.Description)
	default:
		return err
	}
	return v.editAgain(e, value.Data, "secret-edit", v.page.title)
}

func (v *visit) loadEditor() error {
	s, err := v.holding(v.api.GetWhole(v.ctx(), v.pathOfSecret()))
	if err != nil {
		return err
	}
	e := &editor{Path: v.pathOfSecret(), ETag: s.ETag, Known: true, Description: s.Description, Labels: strings.Join(s.Labels, "\n")}
	e.DescriptionWas, e.LabelsWas = e.Description, e.Labels
	if s.Binary {
		e.Hidden = true
		e.About = plural(len(s.Value), "byte") + ", not text: upload a file, or write a text in its place"
		clear(s.Value)
		return v.show("secret-edit", e)
	}
	e.HasCR, e.HasNUL = bytes.ContainsRune(s.Value, '\r'), bytes.ContainsRune(s.Value, 0)
	e.About, e.Marker = about(s.Value), v.slot(s.Value)
	return v.show("secret-edit", e)
}

// readEditor reads what was written.
func (v *visit) readEditor() (*editor, client.Value) {
	f := v.form
	e := &editor{Path: v.pathOfSecret(), ETag: f.text("etag"), Known: f.has("known"), Hidden: f.has("hidden"), JSON: f.has("json"),
		Description: plainLines(f.text("description")), Labels: plainLines(f.text("labels")),
		DescriptionWas: plainLines(f.text("description-was")), LabelsWas: plainLines(f.text("labels-was"))}
	value := client.Value{Data: withoutCR(f.secret("value"))}
	if file := f.secret("file"); len(file) > 0 {
		value = client.Value{Data: file, Binary: !f.has("file-is-text")}
	}
	var labels []string
	for line := range strings.SplitSeq(e.Labels, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			labels = append(labels, line)
		}
	}
	if e.Description != e.DescriptionWas {
		value.Description = &e.Description
	}
	if e.Labels != e.LabelsWas && (e.Known || labels != nil) {
		value.Labels = &labels
	}
	switch {
	case e.Path == "":
		e.Problem = "Name the path of the secret."
	case e.Hidden && len(value.Data) == 0:
		e.Problem = "Nothing was saved: write a value, or choose a file that is not empty."
	case !value.Binary && !utf8.Valid(value.Data):
		e.Problem = "The value is not text (UTF-8), so it can only be stored as bytes."
	case e.JSON && !value.Binary:
		e.Problem = jsonProblem(value.Data)
	}
	return e, value
}

// withoutCR is plainLines in place.
func withoutCR(text []byte) []byte {
	n := 0
	for i, c := range text {
		if c == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			continue
		}
		text[n] = c
		n++
	}
	clear(text[n:])
	return text[:n]
}

// plainLines makes line feeds of the line breaks of a form.
func plainLines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

// jsonProblem says on which line a text is not JSON; "" if it is.
func jsonProblem(text []byte) string {
	d := jsontext.NewDecoder(bytes.NewReader(text))
	_, err := d.ReadValue()
	if err == nil {
		rest := bytes.TrimLeft(text[d.InputOffset():], " \t\r\n")
		if len(rest) == 0 {
			return ""
		}
		err = &jsontext.SyntacticError{ByteOffset: int64(len(text) - len(rest))}
	}
	offset := int64(len(text))
	if bad := (*jsontext.SyntacticError)(nil); errors.As(err, &bad) {
		offset = min(offset, bad.ByteOffset)
	}
	return fmt.Sprintf("Nothing was saved: the value is not valid JSON, see line %d.", 1+bytes.Count(text[:offset], []byte("\n")))
}

// editAgain shows the editor with what the user has written, and why it was not
// saved.
func (v *visit) editAgain(e *editor, written []byte, template, title string) error {
	status := http.StatusUnprocessableEntity
	if v.form.has("file") && len(v.form.secret("file")) > 0 {
		e.Problem += " Choose the file again."
		e.Hidden, written = true, nil
	}
	e.About, e.Marker = about(written), v.slot(written)
	return v.showAs(status, title, template, e)
}

// explainConflict says what somebody else has changed since the editor was opened.
// Saving again then replaces that.
func (v *visit) explainConflict(e *editor) error {
	versions, err := v.api.Versions(v.ctx(), e.Path)
	var refused *client.Error
	if errors.As(err, &refused) {
		e.Problem = "Nothing was saved: somebody else has changed the secret since you opened it."
		return nil
	}
	if err != nil {
		return err
	}
	current, before := versions.Versions[0], uint64(0)
	for _, old := range versions.Versions {
		if old.ETag == e.ETag {
			before = old.Version
		}
	}
	e.ETag = current.ETag
	if versions.Deleted != nil {
		e.Problem = "Nothing was saved: somebody else has deleted the secret since you opened it."
		return nil
	}
	e.Problem = fmt.Sprintf("Nothing was saved: somebody else has written version %d since you opened the secret. If you save again, yours replaces it.", current.Version)
	if before == 0 {
		return nil // the value that the user saw is not kept
	}
	both, err := v.readPair(e.Path, before, current.Version)
	if err != nil {
		return nil // the page says that there is a conflict
	}
	defer both.clear()
	if both.isBinary() || both.isLong() {
		return nil
	}
	if text, err := v.difference(both); err == nil {
		defer clear(text)
		e.Conflict = &conflict{From: before, To: current.Version, Masked: string(linediff.Mask(text))}
	}
	return nil
}
