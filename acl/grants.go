package acl

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Grant allows an action on what a pattern covers.
type Grant struct {
	ID      string // the resource id as it was written
	Pattern Pattern
	Action  Action
	Origin  Origin
	Until   time.Time // zero if it has no end; the holder of the grant takes care of it
}

// Origin says where, or by whom and when, a grant or a membership was made. The
// zero value says nothing.
type Origin struct {
	Line int // of the policy file; 0 elsewhere
	By   string
	At   time.Time
}

// Source says where grants are kept.
type Source uint8

// The sources of grants.
const (
	PolicyFile Source = iota + 1
	// ServerFlag is --superuser.
	ServerFlag
	// Identities are those of package iam.
	Identities
	// SuperuserFile names the superusers of package iam who need no account.
	SuperuserFile
)

// Holder is who has grants.
type Holder struct {
	Source Source
	Group  string // "": a user has them itself
}

// Grants are those of one user or group, made ready for lookup. They never
// change. A nil or zero Grants allows nothing.
type Grants struct {
	holder    Holder
	list      []Grant
	superuser bool
	on        [lastKind + 1]grantsOn // by kind
}

// grantsOn are grants on one kind of resource.
type grantsOn struct {
	common string // what all of them begin with; "" if there are none
	exact  map[string]actionSet
	wild   prefixes
	known  *filter // of the texts of both; nil if they are few
}

// NewGrants returns the grants in list, which it keeps. Those that are not valid
// allow nothing.
func NewGrants(of Holder, list ...Grant) *Grants {
	g := &Grants{holder: of, list: list}
	for i := range list {
		p, a := &list[i].Pattern, actionSet(0).with(list[i].Action)
		switch {
		case list[i].Action < Create || list[i].Action > Full:
		case p.kinds == 1<<kindSuperuser:
			g.superuser = true // any action on it
		default:
			for k := kindSecret; k <= lastKind; k++ {
				if !p.kinds.has(k) {
					continue
				}
				g.on[k].add(p, a)
			}
		}
	}
	for k := range g.on {
		g.on[k].ready()
	}
	return g
}

// ready completes o once all grants were added.
func (o *grantsOn) ready() {
	o.wild = o.wild.ready()
	f := newFilter(len(o.exact) + len(o.wild))
	if f == nil {
		return
	}
	for rest := range o.exact {
		f.add(rest)
	}
	for _, p := range o.wild {
		f.add(p.rest)
		if n := len(p.rest); !slices.Contains(f.lengths, n) && len(f.lengths) <= maxLengths {
			f.lengths = append(f.lengths, n)
		}
	}
	o.known = f
}

func (o *grantsOn) add(p *Pattern, a actionSet) {
	if len(o.exact)+len(o.wild) == 0 {
		o.common = p.rest
	}
	for !strings.HasPrefix(p.rest, o.common) {
		o.common = o.common[:len(o.common)-1]
	}
	switch {
	case p.wild:
		o.wild = append(o.wild, prefix{rest: p.rest, actions: a})
	case o.exact == nil:
		o.exact = map[string]actionSet{p.rest: a}
	default:
		o.exact[p.rest] |= a
	}
}

// of returns what is allowed on the resource rest. Most groups have grants below one
// folder, so those of the other groups of a user cost one comparison. If not, they cost
// a look at the filter.
func (o *grantsOn) of(rest *hashed) (s actionSet) {
	if !strings.HasPrefix(rest.text, o.common) {
		return 0
	}
	if o.known.mayHave(rest) {
		s = o.exact[rest.text]
	}
	if o.known.mayBegin(rest) {
		s |= o.wild.of(rest.text)
	}
	return s
}

// Holder returns who has the grants.
func (g *Grants) Holder() Holder { return g.holder }

// isSuperuser reports whether a grant is on dcos:superuser.
func (g *Grants) isSuperuser() bool { return g != nil && g.superuser }

// allow reports whether a grant allows a on the resource rest of a kind.
func (g *Grants) allow(a Action, k kind, rest *hashed) bool {
	return g != nil && g.on[k].of(rest).allows(a)
}

// allows reports whether a grant satisfies w.
func (g *Grants) allows(w way) bool { return rights{other: []*Grants{g}}.allows(w) }

// someBelow reports whether a grant allows an action on something of a kind below a
// folder.
func (g *Grants) someBelow(folder Path, k kind, a Action) bool {
	below := folder.s + "/"
	if folder.IsRoot() {
		below = ""
	}
	return g != nil && slices.ContainsFunc(g.list, func(one Grant) bool {
		p := &one.Pattern
		return one.Action >= Create && one.Action <= Full && actionSet(0).with(one.Action).allows(a) &&
			p.kinds.has(k) && (strings.HasPrefix(p.rest, below) || p.wild && strings.HasPrefix(below, p.rest))
	})
}

// satisfies reports whether this one grant satisfies w.
func (g *Grant) satisfies(w way) bool {
	switch {
	case g.Action < Create || g.Action > Full:
		return false
	case w.res.kind == kindSuperuser:
		return g.Pattern.kinds == 1<<kindSuperuser
	case !actionSet(0).with(g.Action).allows(w.action):
		return false
	}
	return w.res.folders(g.Pattern.Matches)
}

// prefixes are the wildcards for one kind of resource, in the order of the text
// before their *, each text once.
type prefixes []prefix

type prefix struct {
	rest    string
	actions actionSet // that it and all shorter ones allow
	shorter int       // the longest other one that rest begins with, or -1
}

// ready returns the prefixes in their order, and complete.
func (all prefixes) ready() prefixes {
	slices.SortFunc(all, func(a, b prefix) int { return cmp.Compare(a.rest, b.rest) })
	out := all[:0]
	last := -1 // the longest that the next one may begin with
	for _, p := range all {
		for last >= 0 && !strings.HasPrefix(p.rest, out[last].rest) {
			last = out[last].shorter
		}
		switch {
		case last < 0:
			p.shorter = -1
		case out[last].rest == p.rest:
			out[last].actions |= p.actions
			continue
		default:
			p.shorter, p.actions = last, p.actions|out[last].actions
		}
		out = append(out, p)
		last = len(out) - 1
	}
	return out
}

// of returns what is allowed on the resource rest. Of all that come before rest,
// the last one begins with each that rest begins with: so the longest of these is
// it, or one that it begins with.
func (all prefixes) of(rest string) actionSet {
	i, found := slices.BinarySearchFunc(all, rest, func(p prefix, rest string) int { return cmp.Compare(p.rest, rest) })
	if !found {
		i--
	}
	for ; i >= 0; i = all[i].shorter {
		if strings.HasPrefix(rest, all[i].rest) {
			return all[i].actions
		}
	}
	return 0
}
