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

// The reasons to refuse a name: most names, and the name of a member of an object that
// might be split.
const (
	badName   = "its name cannot be used here"
	badMember = "this name cannot be used with --as split; with another --as it is not needed"
)

// target is where a secret is to go.
type target struct {
	name   string // of the record in the source
	path   string // here, without --under
	member string // "" for the whole record
}

// full is the name in the source, with the member.
func (t target) full() string { return withMember(t.name, t.member) }

func withMember(name, member string) string {
	if member == "" {
		return name
	}
	return name + "/" + member
}

// places finds a path for each secret. It is pure: no name becomes another one unless
// the user says so.
type places struct {
	renames renames
	under   acl.Path
	taken   map[string]string // the name in the source of each path
	refused map[string]string // a proposal for each name that cannot be used
	why     map[string]string // the reason
	present map[string]bool   // the renames whose names the source has
}

func newPlaces(r renames, under acl.Path) *places {
	return &places{renames: r, under: under, taken: map[string]string{}, refused: map[string]string{}, why: map[string]string{}, present: map[string]bool{}}
}

// see notes that the source has a name, of a record or of one with its member.
func (p *places) see(name string) {
	if _, renamed := p.renames[name]; renamed {
		p.present[name] = true
	}
}

// place returns the whole path of a secret; ok is false if it has none.
func (p *places) place(t target) (path string, ok bool) {
	path, ok = p.renamed(t)
	if !ok {
		return "", false
	}
	whole := p.below(path)
	other, twice := p.taken[whole]
	switch {
	case !valid(whole):
		p.refuse(t, path, badName)
		return "", false
	case twice:
		p.refuse(t, path, "it would be "+whole+", as "+quoted(other)+" is")
		return "", false
	}
	p.taken[whole] = t.full()
	return whole, true
}

// propose refuses what place would refuse of a record, whatever becomes of it: the
// name of the record, and those that its members would have.
func (p *places) propose(t target, members []string) {
	p.place(t)
	path, ok := p.renamed(t)
	if !ok {
		return // it is left out
	}
	if !valid(p.below(path)) {
		path = sanitize(path) // which its members would be below
	}
	for _, member := range members {
		t.member = member
		if to, ok := p.renames[t.full()]; ok && (to == nil || valid(p.below(*to))) {
			continue
		}
		if to := withMember(path, member); !valid(p.below(to)) {
			p.refuse(t, to, badMember)
		}
	}
}

// renamed returns the path of a secret, without --under, as the user wants it; ok is
// false if it is left out. A record takes its members along.
func (p *places) renamed(t target) (path string, ok bool) {
	to, renamed := p.renames[t.full()]
	rest := ""
	if !renamed && t.member != "" {
		to, renamed = p.renames[t.name]
		rest = t.member
	}
	switch {
	case !renamed:
		return withMember(t.path, t.member), true
	case to == nil:
		return "", false
	}
	return withMember(*to, rest), true
}

func (p *places) below(path string) string {
	return strings.TrimPrefix(p.under.String()+"/"+path, "/")
}

func (p *places) refuse(t target, path, why string) {
	p.refused[t.full()], p.why[t.full()] = path, why
}

// proposals returns a valid, free path for each refused name.
func (p *places) proposals() renames {
	all := renames{}
	next := map[string]int{} // the first number that may be free; a source may have a million names for one proposal
	for _, name := range slices.Sorted(maps.Keys(p.refused)) {
		base := sanitize(p.refused[name])
		to, n := base, max(2, next[base])
		for ; p.taken[p.below(to)] != ""; n++ {
			to = fmt.Sprintf("%s-%d", base, n)
		}
		next[base] = n
		p.taken[p.below(to)] = name
		all[name] = &to
	}
	return all
}

// unused returns the renames of names that the source does not have, which are
// mistakes.
func (p *places) unused() (all []string) {
	for name := range p.renames {
		if !p.present[name] {
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
