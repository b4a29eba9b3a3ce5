// Package dcosbackup reads what the Secrets API of DC/OS answers, and the files of
// the community's tools that back it up: dcos-secrets-backup and dcos-migrate. It does
// no I/O. The files are not authenticated: somebody who could write to one could change
// the secrets in it.
package dcosbackup

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Secret is one secret. The caller should clear its value.
type Secret struct {
	Path        string
	Value       []byte
	Binary      bool
	Description string
	Labels      []string
}

// Problem is an entry that has no secret.
type Problem struct {
	Name string
	Err  error
}

// Content is what a file holds.
type Content struct {
	Secrets  []Secret
	Problems []Problem
	// Notes are about secrets that may be meant otherwise.
	Notes []string
}

// Clear overwrites the values.
func (c *Content) Clear() {
	for _, s := range c.Secrets {
		clear(s.Value)
	}
}

func (c *Content) note(name string, err error) {
	c.Problems = append(c.Problems, Problem{name, err})
}

// ErrAnswer: the text is not what the Secrets API answers.
var ErrAnswer = errors.New("it is not the JSON document of a secret")

// ParseAnswer reads the answer to a GET of a text secret.
func ParseAnswer(path string, body []byte) (Secret, error) {
	var doc struct {
		Value       jsontext.Value `json:"value"`
		Description string         `json:"description"`
		Labels      []string       `json:"labels"`
	}
	// An answer that names something twice is not of the API.
	if json.Unmarshal(body, &doc) != nil || doc.Value.Kind() != '"' {
		clear(doc.Value)
		return Secret{}, ErrAnswer
	}
	defer clear(doc.Value)
	value, err := jsontext.AppendUnquote([]byte{}, doc.Value)
	if err != nil {
		return Secret{}, ErrAnswer
	}
	return Secret{Path: path, Value: value, Description: doc.Description, Labels: doc.Labels}, nil
}

// List is a list of secrets, or a piece of one.
type List struct {
	Names []string `json:"array"`
	// Next is the name after which the list continues; "" if it does not.
	Next string `json:"next"`
	// Incomplete: the server has skipped damaged records, so names may be missing.
	Incomplete bool `json:"incomplete"`
}

// ParseList reads the answer to a GET with list=true.
func ParseList(body []byte) (List, error) {
	var l List
	if json.Unmarshal(body, &l) != nil || l.Names == nil {
		return List{}, errors.New("it is not a list of secrets")
	}
	return l, nil
}

// entry is a secret in the files of dcos-migrate. Its value is base64, also of a text.
type entry struct {
	Path        string   `json:"path"`
	Key         string   `json:"key"`
	Type        string   `json:"type"`
	Value       *[]byte  `json:"value"`
	Description string   `json:"description"`
	Labels      []string `json:"labels"`
}

func (c *Content) add(e entry) {
	name := joined(e.Path, e.Key)
	switch {
	case e.Value == nil || e.Type != "text" && e.Type != "binary":
		c.note(name, errors.New("it has no value, or a type that is not text or binary"))
	case name == "":
		c.note(name, errors.New("it has no name"))
	default:
		c.Secrets = append(c.Secrets, Secret{name, *e.Value, e.Type == "binary", e.Description, e.Labels})
	}
}

// joined joins path and key without empty parts.
func joined(path, key string) string {
	return strings.Join(strings.FieldsFunc(path+"/"+key, func(r rune) bool { return r == '/' }), "/")
}

// ParseMigrateFile reads one file NAME.Backup.json of dcos-migrate.
func (c *Content) ParseMigrateFile(name string, data []byte) {
	var e entry
	if json.Unmarshal(data, &e) != nil {
		c.note(name, errors.New("it is not a backup of a secret by dcos-migrate"))
		return
	}
	c.add(e)
}

// ParseScriptFile reads the file of dcos-migrate's script backup.py: an array of
// secrets, or an object with one.
func ParseScriptFile(data []byte) (*Content, error) {
	var doc struct {
		Secrets *[]entry `json:"secrets"`
	}
	if jsontext.Value(data).Kind() == '[' {
		doc.Secrets = new([]entry)
		if json.Unmarshal(data, doc.Secrets) != nil {
			doc.Secrets = nil
		}
	} else if json.Unmarshal(data, &doc) != nil {
		doc.Secrets = nil
	}
	if doc.Secrets == nil {
		return nil, errors.New(`it is not a backup of secrets by dcos-migrate: {"secrets": [{"path", "key", "type", "value"}, …]} or the array alone`)
	}
	c := &Content{}
	for _, e := range *doc.Secrets {
		c.add(e)
	}
	return c, nil
}

// errTwice: two entries have one name.
func errTwice(name string) error { return fmt.Errorf("%.200q appears twice", name) }
