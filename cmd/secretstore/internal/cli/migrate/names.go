package migrate

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"secretstore/acl"
)

// renames say which secret gets which path instead of its own: the file of --rename.
// A secret with null is left out.
type renames map[string]*string

// parseRenames reads {"name in the source": "path" or null}.
func parseRenames(data []byte) (renames, error) {
	var r renames
	if json.Unmarshal(data, &r) != nil || r == nil {
		return nil, errors.New(`it is not JSON of the form {"name in the source": "path here", "another": null}, each name once`)
	}
	for name, to := range r {
		if to != nil && !valid(*to) {
			return nil, fmt.Errorf("%q becomes %q, which is not a valid path either", name, *to)
		}
	}
	return r, nil
}

// valid reports whether a path can be used as it is.
func valid(path string) bool {
	p, err := acl.ParsePath(url.PathEscape(path))
	return err == nil && p.String() == path
}

// badName is why most names are refused.
const badName = "its name cannot be used here"

// target is where a secret is to go.
type target struct {
	name string // in the source, with the member
	path string // here, without --under
}

// places finds a path for each secret. It is pure: no name becomes another one unless
// the user says so.
type places struct {
	renames renames
	under   acl.Path
	taken   map[string]string // the name in the source of each path
	refused map[string]string // a proposal for each name that cannot be used
	why     map[string]string // the reason
	used    map[string]bool   // the renames that were of use
}

func newPlaces(r renames, under acl.Path) *places {
	return &places{renames: r, under: under, taken: map[string]string{}, refused: map[string]string{}, why: map[string]string{}, used: map[string]bool{}}
}

// place returns the whole path of a secret; ok is false if it has none.
func (p *places) place(t target) (path string, ok bool) {
	if to, renamed := p.renames[t.name]; renamed {
		p.used[t.name] = true
		if to == nil {
			return "", false
		}
		t.path = *to
	}
	path = strings.TrimPrefix(p.under.String()+"/"+t.path, "/")
	other, twice := p.taken[path]
	switch {
	case !valid(path):
		p.refuse(t, badName)
		return "", false
	case twice:
		p.refuse(t, "it would be "+path+", as "+quoted(other)+" is")
		return "", false
	}
	p.taken[path] = t.name
	return path, true
}

func (p *places) refuse(t target, why string) {
	p.refused[t.name], p.why[t.name] = t.path, why
}

// proposals returns a valid, free path for each refused name.
func (p *places) proposals() renames {
	all := renames{}
	for _, name := range slices.Sorted(maps.Keys(p.refused)) {
		base := sanitize(p.refused[name])
		to := base
		for n := 2; p.taken[strings.TrimPrefix(p.under.String()+"/"+to, "/")] != ""; n++ {
			to = fmt.Sprintf("%s-%d", base, n)
		}
		p.taken[strings.TrimPrefix(p.under.String()+"/"+to, "/")] = name
		all[name] = &to
	}
	return all
}

// unused returns the renames that no secret has needed, which are mistakes.
func (p *places) unused() (all []string) {
	for name := range p.renames {
		if !p.used[name] {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// longest is how long a component of a proposal is at most, so that a number fits.
const longest = 200

// sanitize replaces what a path cannot have.
func sanitize(path string) string {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, part := range parts {
		part = strings.Map(func(r rune) rune {
			if r < 0x80 && valid(string(r)+"x") {
				return r
			}
			return '-'
		}, part)
		if part = part[:min(len(part), longest)]; !valid(part) { // "." and ".."
			part = strings.Repeat("_", len(part))
		}
		parts[i] = part
	}
	parts = parts[:min(len(parts), 8)]
	if path = strings.Join(parts, "/"); !valid(path) {
		return "unnamed"
	}
	return path
}
