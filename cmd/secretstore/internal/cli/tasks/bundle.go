package tasks

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/deliver"
)

// bundle is the values that a program gets.
type bundle struct {
	paths []string // of the secrets
	env   []string // NAME=value
	files deliver.Files
	out   []byte // for standard output
}

// maxVariable is the largest environment variable on Linux, in bytes, with its name
// and the NUL at its end.
const maxVariable = 128 << 10

// take takes the values from the answer. Its errors name only paths.
func (d *delivery) take(answer wire.Resolved) (*bundle, error) {
	for _, path := range d.paths() {
		if _, ok := answer.Secrets[nameOf(path)]; !ok {
			return nil, fmt.Errorf("the server did not send %s", path)
		}
	}
	out := &bundle{paths: d.paths(), files: d.targets()}
	for _, v := range d.env {
		value, err := v.from(answer.Secrets[nameOf(v.path)])
		if err != nil {
			return nil, err
		}
		out.env = append(out.env, v.name+"="+value)
	}
	for i, f := range d.files {
		s := answer.Secrets[nameOf(f.path)]
		out.files.List[i].Data = s.Bytes
		if s.Value != nil {
			out.files.List[i].Data = []byte(*s.Value)
		}
	}
	next := len(d.files)
	for _, t := range d.templates {
		data, err := t.fill(answer.Secrets)
		switch {
		case err != nil:
			return nil, err
		case t.file.Dest == "":
			out.out = append(out.out, data...)
		default:
			out.files.List[next].Data = data
			next++
		}
	}
	return out, nil
}

// from returns the value of a variable, if it can be one.
func (v variable) from(s wire.ResolvedSecret) (string, error) {
	var why string
	switch {
	case s.Value == nil:
		why = "is binary"
	case strings.ContainsRune(*s.Value, 0):
		why = "has a NUL byte"
	case len(v.name)+len(*s.Value)+2 > maxVariable:
		why = "is larger than 128 KiB"
	default:
		return *s.Value, nil
	}
	return "", fmt.Errorf("%s %s and cannot be an environment variable; use --file DEST=%s", v.path, why, v.path)
}

// changedFiles returns the files of b that differ from those of old, which was
// made from the same delivery.
func (b *bundle) changedFiles(old *bundle) deliver.Files {
	out := deliver.Files{AllowDisk: b.files.AllowDisk}
	for i, f := range b.files.List {
		if !bytes.Equal(f.Data, old.files.List[i].Data) {
			out.List = append(out.List, f)
		}
	}
	return out
}

// equal reports whether two bundles of the same delivery have the same values.
func (b *bundle) equal(old *bundle) bool {
	return slices.Equal(b.env, old.env) && len(b.changedFiles(old).List) == 0
}

// withheld are the variables that the program does not get: only the store needs
// them.
var withheld = []string{"SECRETSTORE_TOKEN", "SECRETSTORE_TOKEN_FILE"}

// environment returns the environment of this process with the secrets and without
// the token.
func (b *bundle) environment() []string {
	replaced := slices.Clone(withheld)
	for _, v := range b.env {
		name, _, _ := strings.Cut(v, "=")
		replaced = append(replaced, name)
	}
	all := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(replaced, name)
	})
	return append(all, b.env...)
}
