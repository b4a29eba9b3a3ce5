package batch

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"secretstore/api/definition"
	"secretstore/api/wire"
)

const (
	// maxEnvString is the longest environment variable of a program on Linux,
	// with its name, the = and the NUL at its end (MAX_ARG_STRLEN).
	maxEnvString = 128 << 10
	// maxEnvTotal bounds the arguments and environment of a program together,
	// in bytes, with the usual limit of 8 MiB for its stack.
	maxEnvTotal = 2 << 20
	// envSlot is the size of the pointer to each variable.
	envSlot = 8
)

// Check returns everything that would keep the tasks of the definitions from
// their secrets, and what looks like a mistake. It holds no value. age is that
// of the oldest value that was read.
func (b *Batch) Check(ctx context.Context, from *Source) (found []wire.Finding, age time.Duration, err error) {
	f := &findings{batch: b, facts: make(map[*Read]*facts, len(b.secrets)), all: []wire.Finding{}}
	for _, r := range b.secrets {
		f.facts[r] = &facts{}
	}
	age, err = b.fetch(ctx, from, func(_ context.Context, r *Read) error {
		*f.facts[r] = factsOf(r)
		r.value.data = nil // many large values need not be in memory at once
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	for i := range b.defs {
		f.check(&b.defs[i])
	}
	return f.all, age, nil
}

// facts are what Check keeps of a value.
type facts struct {
	size   int
	env    envProblem
	object bool // a JSON object
}

func factsOf(r *Read) facts {
	f := facts{size: len(r.value.data), env: r.value.envProblem(definition.Secret{Path: r.Path})}
	if v := jsontext.Value(r.value.data); v.Kind() == '{' {
		f.object = v.IsValid()
	}
	return f
}

// findings collects what is found, definition by definition.
type findings struct {
	batch *Batch
	facts map[*Read]*facts // of those that were read
	all   []wire.Finding
}

func (f *findings) add(d *definition.Definition, severity string, w wire.Finding) {
	w.Service, w.Severity = d.Service.String(), severity
	f.all = append(f.all, w)
}

func (f *findings) check(d *definition.Definition) {
	for _, r := range d.References {
		if !r.Defined() {
			f.add(d, wire.SeverityError, wire.Finding{Secret: r.Secret, Where: r.Place(),
				Problem: `references an undefined secret`,
				Mend:    `add the name to "secrets" with its source, or reference a name that is there`})
		}
	}
	fit := make(map[int]bool) // by entry
	for i, s := range d.Secrets {
		if where, wanted := placeOf(d, i); wanted {
			fit[i] = f.checkSecret(d, s, where)
		}
	}
	for _, r := range d.References {
		if r.Defined() && r.Use != definition.Unmounted && fit[r.Entry] {
			f.checkUse(d, r)
		}
	}
	f.checkEnvTotal(d, fit)
	f.checkUnused(d)
}

// checkUnused finds secrets that no task gets.
func (f *findings) checkUnused(d *definition.Definition) {
	for _, r := range d.References {
		if r.Defined() && r.Use == definition.Unmounted {
			s := d.Secrets[r.Entry]
			f.add(d, wire.SeverityWarning, wire.Finding{Secret: s.Name, Source: source(s), Where: r.Place(),
				Problem: "no container mounts the volume, so no task gets it",
				Mend:    "add it to the volumeMounts of a container, or take it out"})
		}
	}
	for _, s := range d.Unused() {
		f.add(d, wire.SeverityWarning, wire.Finding{Secret: s.Name, Source: source(s), Where: `"secrets"`,
			Problem: "nothing references it, so no task gets it",
			Mend:    "reference it, or take it out"})
	}
}

// placeOf returns where an entry is first used, and whether a task gets it.
func placeOf(d *definition.Definition, entry int) (string, bool) {
	if d.Kind == definition.Plain {
		return `"secrets"`, true
	}
	where, more := "", 0
	for _, r := range d.References {
		switch {
		case r.Entry != entry || r.Use == definition.Unmounted:
		case where == "":
			where = r.Place()
		default:
			more++
		}
	}
	if more > 0 {
		where += fmt.Sprintf(" and %d more", more)
	}
	return where, where != ""
}

// source is the path of a secret as people write it, "" if it is not valid.
func source(s definition.Secret) string {
	if !s.Valid() {
		return ""
	}
	return "/" + s.Path.String()
}

// checkSecret reports whether the tasks would get a secret at all.
func (f *findings) checkSecret(d *definition.Definition, s definition.Secret, where string) bool {
	found := wire.Finding{Secret: s.Name, Source: source(s), Where: where}
	if !s.Valid() {
		found.Problem = "its source is not a valid secret path"
		found.Mend = "use components of letters, digits, '.', '_' and '-', separated by '/', as in team/db-password"
		f.add(d, wire.SeverityError, found)
		return false
	}
	switch r := f.batch.read(d, s); {
	case !r.Decision.Allowed:
		found.Problem = "is not accessible from service " + d.Service.String()
		found.Mend = fmt.Sprintf("keep it as %s/%s, or under a parent of that folder", d.Service, s.Path.Name())
	case r.Missing:
		found.Problem = "does not exist"
		found.Mend = "create it: secretstore put " + s.Path.String()
	case r.malformed:
		found.Problem = "is to be decoded, as its name begins with __dcos_base64__, and is not base64"
		found.Mend = "store it again: base64 FILE | secretstore put " + s.Path.String() + "; or use a name without __dcos_base64__"
	default:
		return true
	}
	f.add(d, wire.SeverityError, found)
	return false
}

// checkUse checks that a value fits where it is used.
func (f *findings) checkUse(d *definition.Definition, r definition.Reference) {
	s := d.Secrets[r.Entry]
	has := f.facts[f.batch.read(d, s)]
	found := wire.Finding{Secret: s.Name, Source: source(s), Where: r.Place()}
	severity := wire.SeverityError
	switch {
	case r.Use == definition.Env && has.env == envBinary:
		found.Problem = "is binary, which an environment variable cannot hold"
		found.Mend = "use it as a file, or store it as text: secretstore put -t FILE " + s.Path.String()
	case r.Use == definition.Env && has.env == envNUL:
		found.Problem = "holds a NUL, which an environment variable cannot"
		found.Mend = "use it as a file"
	case r.Use == definition.Env && len(r.Target)+has.size+2 > maxEnvString:
		found.Problem = fmt.Sprintf("has %d bytes: a variable has at most %d with its name", has.size, maxEnvString-2)
		found.Mend = "use it as a file"
	case r.Use == definition.PullConfig && !has.object:
		severity = wire.SeverityWarning
		found.Problem = "is not a Docker config, which is a JSON object"
		found.Mend = "store the config.json that docker login wrote: secretstore put -t ~/.docker/config.json " + s.Path.String()
	default:
		return
	}
	f.add(d, severity, found)
}

// checkEnvTotal adds up the variables of each container.
func (f *findings) checkEnvTotal(d *definition.Definition, fit map[int]bool) {
	containers := d.Containers
	if d.Kind != definition.Pod {
		containers = []string{""}
	}
	for _, name := range containers {
		total := 0
		for _, r := range d.EnvOf(name) {
			if r.Defined() && fit[r.Entry] {
				total += len(r.Target) + f.facts[f.batch.read(d, d.Secrets[r.Entry])].size + 2 + envSlot
			}
		}
		if total <= maxEnvTotal {
			continue
		}
		where := "all environment variables"
		if name != "" {
			where += fmt.Sprintf(" of container %q", name)
		}
		f.add(d, wire.SeverityError, wire.Finding{Where: where,
			Problem: fmt.Sprintf("the secrets in them have %d bytes: a program starts with at most %d of arguments and environment", total, maxEnvTotal),
			Mend:    "use the large ones as files"})
	}
}
