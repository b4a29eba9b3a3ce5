package batch

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

	"secretstore/acl"
	"secretstore/api/definition"
	"secretstore/api/internal/body"
	"secretstore/api/internal/jsondoc"
	"secretstore/api/internal/problem"
)

// Resolve returns, in the form of wire.Resolved, all secrets that the tasks of
// the definitions need, or an error if they cannot have one of them. age is
// that of the oldest value.
func (b *Batch) Resolve(ctx context.Context, from *Source) (answer []byte, age time.Duration, err error) {
	for i := range b.defs {
		if err := b.refuse(&b.defs[i]); err != nil {
			return nil, 0, err
		}
	}
	if age, err = b.fetch(ctx, from, from.bounded()); err != nil {
		return nil, 0, err
	}
	answers := make([]resolved, 0, len(b.defs))
	size := int64(0)
	for i := range b.defs {
		r := newResolved(b, &b.defs[i])
		if err := r.refuse(); err != nil {
			return nil, 0, err
		}
		// A secret is in the answer as often as it is referenced.
		if size += r.size(); size > from.Limit() {
			return nil, 0, tooMuch(from.Limit())
		}
		answers = append(answers, r)
	}
	size += size / 3 // base64
	if size > body.Small {
		if err := from.claim(ctx); err != nil {
			return nil, 0, err
		}
	}
	if answer, err = appendAll(make([]byte, 0, size+256), answers, b.several); err != nil {
		return nil, 0, err
	}
	from.reserved.Shrink(int64(cap(answer)))
	return answer, age, nil
}

// inaccessible is the one answer for a secret that is missing and for one that
// the service may not have; clients match its beginning. The audit log tells
// the two apart.
func inaccessible(p acl.Path) error {
	return problem.Unprocessable("Secret /" + p.String() + " is not accessible: a secret must exist, and its folder be the service's id or a parent of it; " +
		"POST the same to /secrets/v1/check/default, or run `secretstore check`, for all findings")
}

// refuse returns what is wrong with a definition before a secret is read.
func (b *Batch) refuse(def *definition.Definition) error {
	for _, r := range def.References {
		if !r.Defined() {
			return problem.Unprocessable(fmt.Sprintf(`%s references an undefined secret %q: add it to "secrets", with its source`, r.Place(), r.Secret))
		}
	}
	for _, w := range def.Wanted() {
		if !w.Valid() {
			return problem.Unprocessable(fmt.Sprintf("the source of %q is not a valid secret path: use components of letters, digits, '.', '_' and '-', separated by '/'", w.Name))
		}
	}
	for _, w := range def.Wanted() {
		if !b.read(def, w).Decision.Allowed {
			return inaccessible(w.Path)
		}
	}
	return nil
}

// resolved is what the tasks of one definition get.
type resolved struct {
	batch *Batch
	def   *definition.Definition
	env   []definition.Reference
	files []definition.Reference
	pull  *definition.Reference
	// containers are those of a pod, each with all its variables.
	containers []container
}

type container struct {
	name string
	env  []definition.Reference
	pull *definition.Reference
}

func newResolved(b *Batch, def *definition.Definition) resolved {
	v := resolved{batch: b, def: def, env: def.Env(), files: def.Files()}
	if r, ok := def.PullConfig(); ok {
		v.pull = &r
	}
	for _, name := range def.Containers {
		c := container{name: name, env: def.EnvOf(name)}
		if r, ok := def.PullConfigOf(name); ok {
			c.pull = &r
		}
		v.containers = append(v.containers, c)
	}
	return v
}

func (v *resolved) value(r definition.Reference) *value {
	return &v.batch.read(v.def, v.def.Secrets[r.Entry]).value
}

// refuse returns why the tasks cannot have the secrets, now that these have
// been read.
func (v *resolved) refuse() error {
	for _, w := range v.def.Wanted() {
		switch r := v.batch.read(v.def, w); {
		case r.Missing:
			return inaccessible(w.Path)
		case r.malformed:
			return problem.Unprocessable("Secret /" + w.Path.String() + " is to be decoded, as its name begins with __dcos_base64__, and is not base64: store it again, as printed by base64")
		}
	}
	for _, r := range v.def.References {
		if r.Use != definition.Env {
			continue
		}
		path := v.def.Secrets[r.Entry].Path
		switch v.value(r).envProblem(v.def.Secrets[r.Entry]) {
		case envBinary:
			return problem.Unprocessable(fmt.Sprintf("Secret /%s is binary and cannot be %s: use it as a file, or store it as text", path, r.Place()))
		case envNUL:
			return problem.Unprocessable(fmt.Sprintf("Secret /%s holds a NUL and cannot be %s: use it as a file", path, r.Place()))
		}
	}
	return nil
}

// envProblem is why a value cannot be that of an environment variable.
type envProblem int

const (
	envFine envProblem = iota
	envBinary
	envNUL
)

func (v *value) envProblem(s definition.Secret) envProblem {
	switch {
	case !v.text && !(s.Encoded() && utf8.Valid(v.data)):
		return envBinary
	case bytes.IndexByte(v.data, 0) >= 0:
		return envNUL
	}
	return envFine
}

// size estimates the bytes of names and values in the answer.
func (v *resolved) size() int64 {
	const each = 64 // names of members and punctuation
	n := int64(2 * each)
	add := func(r definition.Reference) {
		n += int64(each + len(r.Target) + len(r.Container) + len(v.value(r).data))
	}
	all := func(refs []definition.Reference) {
		for _, r := range refs {
			add(r)
		}
	}
	all(v.env)
	all(v.files)
	if v.pull != nil {
		add(*v.pull)
	}
	for _, c := range v.containers {
		n += int64(each + len(c.name))
		all(c.env)
		if c.pull != nil {
			add(*c.pull)
		}
	}
	if v.def.Kind == definition.Plain {
		for _, s := range v.def.Secrets {
			n += int64(each + len(s.Name) + len(v.batch.read(v.def, s).value.data))
		}
	}
	return n
}

// appendAll appends the answer piece by piece rather than marshaling it, so
// that values are copied once. Its form is wire.Resolved.
func appendAll(b []byte, all []resolved, several bool) (_ []byte, err error) {
	if several {
		b = append(b, '[')
	}
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = all[i].appendTo(b); err != nil {
			return nil, err
		}
	}
	if several {
		b = append(b, ']')
	}
	return b, nil
}

func (v *resolved) appendTo(b []byte) (_ []byte, err error) {
	b = append(b, `{"service":`...)
	b = jsondoc.AppendString(b, v.def.Service.String())
	if b, err = v.appendEnv(append(b, ','), v.env); err != nil {
		return nil, err
	}
	b = v.appendFiles(append(b, ','))
	if v.pull != nil {
		if b, err = v.appendPull(append(b, ','), *v.pull); err != nil {
			return nil, err
		}
	}
	if v.def.Kind == definition.Pod {
		if b, err = v.appendContainers(append(b, ',')); err != nil {
			return nil, err
		}
	}
	if v.def.Kind == definition.Plain {
		if b, err = v.appendSecrets(append(b, ',')); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func (v *resolved) appendEnv(b []byte, env []definition.Reference) (_ []byte, err error) {
	b = append(b, `"env":{`...)
	for i, r := range env {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsondoc.AppendString(b, r.Target), ':')
		if b, err = jsondoc.AppendText(b, v.value(r).data); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func (v *resolved) appendFiles(b []byte) []byte {
	b = append(b, `"files":[`...)
	for i, r := range v.files {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"path":`...)
		b = jsondoc.AppendString(b, r.Target)
		b = jsondoc.AppendMember(b, "container", r.Container)
		b = append(b, `,"value_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, v.value(r).data)
		b = append(b, '"')
		b = jsondoc.AppendMember(b, "mode", fileMode(r))
		b = append(b, '}')
	}
	return append(b, ']')
}

// fileMode is the mode of a secret's file, in octal.
func fileMode(r definition.Reference) string {
	if r.Writable {
		return "0600"
	}
	return "0400"
}

func (v *resolved) appendPull(b []byte, r definition.Reference) ([]byte, error) {
	b = append(b, `"pull_config":{"secret":`...)
	b = append(jsondoc.AppendString(b, r.Secret), ',')
	b, err := v.value(r).appendTo(b)
	return append(b, '}'), err
}

func (v *resolved) appendContainers(b []byte) (_ []byte, err error) {
	b = append(b, `"containers":{`...)
	for i, c := range v.containers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsondoc.AppendString(b, c.name), ':', '{')
		if b, err = v.appendEnv(b, c.env); err != nil {
			return nil, err
		}
		if c.pull != nil {
			if b, err = v.appendPull(append(b, ','), *c.pull); err != nil {
				return nil, err
			}
		}
		b = append(b, '}')
	}
	return append(b, '}'), nil
}

func (v *resolved) appendSecrets(b []byte) (_ []byte, err error) {
	b = append(b, `"secrets":{`...)
	for i, s := range v.def.Secrets {
		if i > 0 {
			b = append(b, ',')
		}
		value := &v.batch.read(v.def, s).value
		b = append(jsondoc.AppendString(b, s.Name), ':', '{')
		if b, err = value.appendTo(b); err != nil {
			return nil, err
		}
		b = append(jsondoc.AppendMember(b, "etag", value.etag), '}')
	}
	return append(b, '}'), nil
}

// appendTo appends one member, "value" for text and "value_base64" for all
// else.
func (v *value) appendTo(b []byte) ([]byte, error) {
	if v.text {
		return jsondoc.AppendText(append(b, `"value":`...), v.data)
	}
	b = append(b, `"value_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, v.data)
	return append(b, '"'), nil
}
