package grantfile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"secretstore/acl"
	"secretstore/iam"
)

// The kinds of findings.
const (
	UnknownUser  = "unknown-user"
	UnknownGroup = "unknown-group"
	InvalidID    = "invalid-id"
	Undecided    = "undecided" // no server decides by the resource
	Ended        = "ended"
	TooMany      = "too-many"
	Duplicate    = "duplicate"
	Covered      = "covered"
)

// Finding is something that is odd about a file.
type Finding struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// Serious reports whether the file cannot have the effect that it describes. The
// others can be left as they are.
func (f Finding) Serious() bool { return f.Kind != Duplicate && f.Kind != Covered }

// Findings returns what is odd about a file for a store, at the time now.
func (s *Store) Findings(c Content, now time.Time) []Finding {
	f := &finder{store: s, said: make(map[Finding]bool), made: make(map[string]bool)}
	for _, gid := range c.Groups {
		if _, err := iam.ParseGID(gid); err != nil {
			f.add(InvalidID, "group %s: it cannot be a group: %v", gid, err)
		}
		f.made[gid] = true
	}
	for _, m := range c.Members {
		f.user(m.User)
	}
	holders := make(map[string][]Item)
	for _, g := range c.Grants {
		f.holder(g)
		f.grant(g, now)
		holders[g.Holder()] = append(holders[g.Holder()], g)
	}
	for name, grants := range holders {
		f.redundant(name, grants)
	}
	slices.SortFunc(f.all, func(a, b Finding) int { return strings.Compare(a.Text, b.Text) })
	return f.all
}

type finder struct {
	store *Store
	made  map[string]bool // groups that the file makes
	said  map[Finding]bool
	all   []Finding
}

// add adds a finding once.
func (f *finder) add(kind, format string, args ...any) {
	n := Finding{kind, fmt.Sprintf(format, args...)}
	if !f.said[n] {
		f.said[n] = true
		f.all = append(f.all, n)
	}
}

func (f *finder) user(uid string) {
	if f.store.Users[uid] {
		return
	}
	if _, err := iam.ParseUID(uid); err != nil {
		f.add(InvalidID, "user %s: it cannot be an account: %v", uid, err)
		return
	}
	f.add(UnknownUser, "user %s: there is no such account", uid)
}

func (f *finder) holder(g Item) {
	switch {
	case g.Group == "":
		f.user(g.User)
	case !f.made[g.Group] && !f.store.Groups[g.Group]:
		f.add(UnknownGroup, "group %s: there is no such group", g.Group)
	}
}

// ours are the beginnings of resources that no other program decides by.
var ours = []string{"dcos:secrets:", "dcos:superuser", "dcos:iam:"}

func (f *finder) grant(g Item, now time.Time) {
	if !g.Until.IsZero() && !g.Until.After(now) {
		f.add(Ended, "%s: it has ended", g)
	}
	if _, err := acl.ParsePattern(g.Resource); err == nil {
		return
	}
	for _, prefix := range ours {
		if strings.HasPrefix(g.Resource, prefix) {
			f.add(Undecided, "%s: no decision uses this resource", g)
			return
		}
	}
}

// redundant finds the grants of one holder that another one makes needless.
func (f *finder) redundant(holder string, grants []Item) {
	if len(grants) > iam.MaxGrants {
		f.add(TooMany, "%s: it has %d grants, and at most %d are possible", holder, len(grants), iam.MaxGrants)
		return
	}
	seen := make(map[key]bool)
	keys := make([]key, len(grants))
	for i, g := range grants {
		keys[i] = g.key()
		if seen[keys[i]] {
			f.add(Duplicate, "%s: it appears more than once", g)
		}
		seen[keys[i]] = true
	}
	for i, g := range grants {
		for j, wide := range grants {
			// Of two that cover each other, the first counts.
			if keys[i] != keys[j] && wide.lasts(g) && keys[j].covers(keys[i]) && (j < i || !keys[i].covers(keys[j])) {
				f.add(Covered, "%s: already allowed by %s on %s", g, wide.Action, wide.Resource)
				break
			}
		}
	}
}

// lasts reports whether the grant does not end before other.
func (i Item) lasts(other Item) bool {
	return i.Until.IsZero() || !other.Until.IsZero() && !i.Until.Before(other.Until)
}

// covers reports whether a grant of one holder allows all that other does.
func (k key) covers(other key) bool {
	full := acl.Full.String()
	switch {
	case k.rid == iam.Superuser && other.rid == iam.Superuser:
		return k.action == full // any action on it allows everything
	case k.rid == iam.Superuser:
		return true
	}
	return (k.action == full || k.action == other.action) && k.rid.Covers(other.rid)
}
