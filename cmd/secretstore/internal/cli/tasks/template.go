package tasks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/deliver"
)

// filling is a template, and where its output goes: to the file, or to standard output
// if that has no name. Templates have the functions secret, secretJSON and base64 and no
// other, not even the predefined ones. They reach no file, program or variable.
type filling struct {
	file   deliver.File // without data
	text   *template.Template
	source string   // the file of the template
	paths  []string // of its secrets
}

// maxFilled is the largest output of a template.
const maxFilled = 16 << 20

// readTemplates reads the templates, and finds their secrets.
func (d *deliveryFlags) readTemplates(p *base.Process, out *delivery) error {
	for _, arg := range d.templates {
		dest, source := "", arg
		if i := strings.LastIndexByte(arg, '='); i > 0 {
			dest, source = arg[:i], arg[i+1:]
		}
		if dest == "" && d.onlyFiles {
			return base.Usagef("--template %s: write DEST=FILE; FILE alone is for render", arg)
		}
		data, err := base.ReadText(p, source)
		if err != nil {
			return err
		}
		filling, err := parseTemplate(source, data)
		if err != nil {
			return base.Usagef("%v", err)
		}
		filling.file = deliver.File{Dest: dest, Mode: d.perm, UID: d.uid, GID: d.gid}
		out.templates = append(out.templates, *filling)
	}
	return nil
}

// parseTemplate parses a template. Its secrets are those that it names, also where a
// condition leaves them out: all are fetched in one request.
func parseTemplate(source string, data []byte) (*filling, error) {
	if bytes.ContainsRune(data, 0) {
		return nil, fmt.Errorf("%s is not a text file", source)
	}
	f := &filling{source: source}
	t, err := template.New(filepath.Base(source)).Option("missingkey=error").Funcs(functions(nil)).Parse(string(data))
	if err != nil {
		return nil, err
	}
	f.text = t
	for _, part := range t.Templates() {
		if part.Tree == nil {
			continue
		}
		if err := f.inspect(reflect.ValueOf(part.Root)); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
	}
	return f, nil
}

// inspect finds all commands and names below a node of the template.
func (f *filling) inspect(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || v.Type() == reflect.TypeFor[*parse.Tree]() {
			return nil
		}
		switch node := v.Interface().(type) {
		case *parse.CommandNode:
			return f.command(node)
		case *parse.IdentifierNode: // not at the start of a command
			return fmt.Errorf("write (%s \"PATH\"), with parentheses", node.Ident)
		}
		return f.inspect(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				if err := f.inspect(v.Field(i)); err != nil {
					return err
				}
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := f.inspect(v.Index(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *filling) command(node *parse.CommandNode) error {
	args := node.Args
	if name, ok := args[0].(*parse.IdentifierNode); ok {
		args = args[1:]
		switch name.Ident {
		case "secret", "secretJSON":
			if len(args) != 1 || args[0].Type() != parse.NodeString {
				return fmt.Errorf("write %s \"PATH\", with the path in quotes", name.Ident)
			}
			path, err := base.SecretPath(args[0].(*parse.StringNode).Text)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			f.paths = append(f.paths, path)
		case "base64":
		default:
			return fmt.Errorf("there is no function %q; a template can use secret, secretJSON and base64", name.Ident)
		}
	}
	return f.inspect(reflect.ValueOf(args))
}

// templateError is an error that holds no value of a secret.
type templateError struct{ text string }

func (e *templateError) Error() string { return e.text }

// functions returns the functions of a template that gets these secrets, by nameOf.
func functions(secrets map[string]wire.ResolvedSecret) template.FuncMap {
	secret := func(arg string) (string, error) {
		path, err := base.SecretPath(arg)
		if err != nil {
			return "", err
		}
		s, ok := secrets[nameOf(path)]
		switch {
		case !ok:
			return "", &templateError{"the server did not send " + path}
		case s.Value == nil:
			return string(s.Bytes), nil
		}
		return *s.Value, nil
	}
	return template.FuncMap{
		"secret": secret,
		"secretJSON": func(path string) (any, error) {
			text, err := secret(path)
			if err != nil {
				return nil, err
			}
			var out any
			dec := json.NewDecoder(strings.NewReader(text))
			dec.UseNumber() // 1000000 is not 1e+06
			if dec.Decode(&out) != nil || !errors.Is(dec.Decode(new(any)), io.EOF) {
				return nil, &templateError{path + " is not JSON"}
			}
			return out, nil
		},
		"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	}
}

// fill executes the template. Errors of the template package can show values, so only
// their place is kept.
func (f *filling) fill(secrets map[string]wire.ResolvedSecret) ([]byte, error) {
	t, err := f.text.Clone()
	if err != nil {
		return nil, err
	}
	out := &limited{}
	err = t.Funcs(functions(secrets)).Execute(out, nil)
	if err == nil {
		return out.data, nil
	}
	clear(out.data)
	if known, ok := errors.AsType[*templateError](err); ok {
		return nil, fmt.Errorf("%s: %w", f.source, known)
	}
	place, _, _ := strings.Cut(err.Error(), ": executing ")
	return nil, fmt.Errorf("%s: a field is missing, or a value does not have the type that the template needs", place)
}

// limited is a buffer that takes no more than maxFilled.
type limited struct{ data []byte }

func (l *limited) Write(p []byte) (int, error) {
	if len(l.data)+len(p) > maxFilled {
		return 0, &templateError{"the output is larger than 16 MiB"}
	}
	l.data = append(l.data, p...)
	return len(p), nil
}

// hasOutput reports whether a template has its output on standard output.
func (d *delivery) hasOutput() bool {
	return slices.ContainsFunc(d.templates, func(f filling) bool { return f.file.Dest == "" })
}
