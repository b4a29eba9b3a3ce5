package api

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"secretstore/acl"
	"secretstore/api/definition"
	"secretstore/api/wire"
)

// resolveSecrets answers with all secrets that the tasks of a definition need,
// or with none.
func (s *Server) resolveSecrets(c *call) (reply, error) {
	e, err := s.startErrand(c)
	if err != nil {
		return reply{}, err
	}
	for i := range e.defs {
		if err := e.refuseUnread(&e.defs[i]); err != nil {
			return reply{}, err
		}
	}
	limit := s.errandLimit()
	age, err := s.fetch(c, e, e.bounded(limit))
	if err != nil {
		return reply{}, err
	}
	var deliveries []delivery
	size := int64(0)
	for i := range e.defs {
		d := newDelivery(e, &e.defs[i])
		if err := d.refuse(); err != nil {
			return reply{}, err
		}
		// A secret is delivered as often as it is referred to.
		if size += d.size(); size > limit {
			return reply{}, tooMuch(limit)
		}
		deliveries = append(deliveries, d)
	}
	size += size / 3 // base64
	if size > smallPart {
		if err := e.claim(); err != nil {
			return reply{}, err
		}
	}
	body, err := appendDeliveries(make([]byte, 0, size+256), deliveries, e.several)
	if err != nil {
		return reply{}, err
	}
	s.bodies.shrink(c, int64(cap(body)))
	return reply{status: http.StatusOK, contentType: wire.TypeJSON, body: body, age: age}, nil
}

// inaccessible is the one answer for a secret that is missing and for one that
// the service may not have: clients know its beginning. The audit log tells the
// two apart.
func inaccessible(p acl.Path) *problem {
	return unprocessable("Secret /" + p.String() + " is not accessible: a secret must exist, and its folder be the service's id or a parent of it; " +
		"POST the same to /secrets/v1/check/default, or run `secretstore check`, for all findings")
}

// refuseUnread returns what is wrong with a definition before a secret is
// looked at.
func (e *errand) refuseUnread(d *definition.Definition) error {
	for _, r := range d.References {
		if !r.Defined() {
			return unprocessable(fmt.Sprintf(`%s references an undefined secret %q: add it to "secrets", with its source`, r.Place(), r.Secret))
		}
	}
	for _, w := range d.Wanted() {
		if !w.Valid() {
			return unprocessable(fmt.Sprintf("the source of %q is no path of a secret: write components of letters, digits, '.', '_' and '-', separated by '/'", w.Name))
		}
	}
	for _, w := range d.Wanted() {
		if !e.read(d, w).decision.Allowed {
			return inaccessible(w.Path)
		}
	}
	return nil
}

// delivery is what the tasks of one definition get.
type delivery struct {
	e     *errand
	d     *definition.Definition
	env   []definition.Reference
	files []definition.Reference
	pull  *definition.Reference
	// containers are those of a pod, each with all its variables.
	containers []containerDelivery
}

type containerDelivery struct {
	name string
	env  []definition.Reference
	pull *definition.Reference
}

func newDelivery(e *errand, d *definition.Definition) delivery {
	v := delivery{e: e, d: d, env: d.Env(), files: d.Files()}
	if r, ok := d.PullConfig(); ok {
		v.pull = &r
	}
	for _, name := range d.Containers {
		c := containerDelivery{name: name, env: d.EnvOf(name)}
		if r, ok := d.PullConfigOf(name); ok {
			c.pull = &r
		}
		v.containers = append(v.containers, c)
	}
	return v
}

func (v *delivery) value(r definition.Reference) *deliverable {
	return &v.e.read(v.d, v.d.Secrets[r.Entry]).value
}

// refuse returns what stands in the way of a delivery now that the secrets have
// been read.
func (v *delivery) refuse() error {
	for _, w := range v.d.Wanted() {
		switch r := v.e.read(v.d, w); {
		case r.missing:
			return inaccessible(w.Path)
		case r.malformed:
			return unprocessable("Secret /" + w.Path.String() + " is to be decoded, as its name begins with __dcos_base64__, and is not base64: store it again, as printed by base64")
		}
	}
	for _, r := range v.d.References {
		if r.Use != definition.Env {
			continue
		}
		path := v.d.Secrets[r.Entry].Path
		switch v.value(r).envProblem(v.d.Secrets[r.Entry]) {
		case envBinary:
			return unprocessable(fmt.Sprintf("Secret /%s is binary and cannot be %s: use it as a file, or store it as text", path, r.Place()))
		case envNUL:
			return unprocessable(fmt.Sprintf("Secret /%s holds a NUL and cannot be %s: use it as a file", path, r.Place()))
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

func (v *deliverable) envProblem(s definition.Secret) envProblem {
	switch {
	case !v.text && !(s.Encoded() && utf8.Valid(v.data)):
		return envBinary
	case bytes.IndexByte(v.data, 0) >= 0:
		return envNUL
	}
	return envFine
}

// size is about how many bytes of names and values the delivery has.
func (v *delivery) size() int64 {
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
	if v.d.Kind == definition.Plain {
		for _, s := range v.d.Secrets {
			n += int64(each + len(s.Name) + len(v.e.read(v.d, s).value.data))
		}
	}
	return n
}

// The answer is written piece by piece rather than marshalled, so that values
// are copied once. Its form is wire.Resolved.

func appendDeliveries(b []byte, all []delivery, several bool) (_ []byte, err error) {
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

func (v *delivery) appendTo(b []byte) (_ []byte, err error) {
	b = append(b, `{"service":`...)
	b = appendString(b, v.d.Service.String())
	if b, err = v.appendEnv(append(b, ','), v.env); err != nil {
		return nil, err
	}
	b = v.appendFiles(append(b, ','))
	if v.pull != nil {
		if b, err = v.appendPull(append(b, ','), *v.pull); err != nil {
			return nil, err
		}
	}
	if v.d.Kind == definition.Pod {
		if b, err = v.appendContainers(append(b, ',')); err != nil {
			return nil, err
		}
	}
	if v.d.Kind == definition.Plain {
		if b, err = v.appendSecrets(append(b, ',')); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func (v *delivery) appendEnv(b []byte, env []definition.Reference) (_ []byte, err error) {
	b = append(b, `"env":{`...)
	for i, r := range env {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, r.Target), ':')
		if b, err = appendText(b, v.value(r).data); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func (v *delivery) appendFiles(b []byte) []byte {
	b = append(b, `"files":[`...)
	for i, r := range v.files {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"path":`...)
		b = appendString(b, r.Target)
		b = appendMember(b, "container", r.Container)
		b = append(b, `,"value_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, v.value(r).data)
		b = append(b, '"')
		b = appendMember(b, "mode", fileMode(r))
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

func (v *delivery) appendPull(b []byte, r definition.Reference) ([]byte, error) {
	b = append(b, `"pull_config":{"secret":`...)
	b = append(appendString(b, r.Secret), ',')
	b, err := v.value(r).appendTo(b)
	return append(b, '}'), err
}

func (v *delivery) appendContainers(b []byte) (_ []byte, err error) {
	b = append(b, `"containers":{`...)
	for i, c := range v.containers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, c.name), ':', '{')
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

func (v *delivery) appendSecrets(b []byte) (_ []byte, err error) {
	b = append(b, `"secrets":{`...)
	for i, s := range v.d.Secrets {
		if i > 0 {
			b = append(b, ',')
		}
		value := &v.e.read(v.d, s).value
		b = append(appendString(b, s.Name), ':', '{')
		if b, err = value.appendTo(b); err != nil {
			return nil, err
		}
		b = append(appendMember(b, "etag", value.etag), '}')
	}
	return append(b, '}'), nil
}

// appendTo appends one member, "value" for text and "value_base64" for all
// else.
func (v *deliverable) appendTo(b []byte) ([]byte, error) {
	if v.text {
		return appendText(append(b, `"value":`...), v.data)
	}
	b = append(b, `"value_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, v.data)
	return append(b, '"'), nil
}

// appendText appends a value as a JSON string.
func appendText(b, value []byte) ([]byte, error) {
	b, err := jsontext.AppendQuote(b, value)
	if err != nil {
		return nil, errNotText
	}
	return b, nil
}

// appendString appends a name that is valid UTF-8.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // as in appendMember
	return b
}
