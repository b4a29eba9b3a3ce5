package authority

import (
	"maps"
	"strings"

	"secretstore/iam"
	"secretstore/iam/password"
)

// The prefixes of the names of records that are entries.
const (
	userPrefix  = "user/"
	groupPrefix = "group/"
	aclPrefix   = "acl/"
	usedPrefix  = iam.UsedPrefix
)

// state is all that an [Authority] knows at one moment. It is immutable.
type state struct {
	directory *iam.Directory
	sealed    *iam.Directory // only the superusers of the file
	file      Superusers
	cost      int // the most rounds of any hash of an account so far, in the storage
	loaded    bool
	loads     uint64              // how often the storage has loaded
	era       uint64              // how often the file has changed
	at        uint64              // the number of the last change
	records   map[string][]byte   // that are not entries, by name
	bad       map[string]struct{} // names of records that cannot be decoded
	damaged   int                 // how many the storage could not read
}

// recordName returns the name of the record of an entry.
func recordName(id iam.EntryID) string {
	switch id.Kind {
	case iam.KindUser:
		return userPrefix + id.Name
	case iam.KindGroup:
		return groupPrefix + id.Name
	default:
		return aclPrefix + id.Name
	}
}

// entryID returns the entry that a record of that name is. It is not ok for other
// records.
func entryID(name string) (id iam.EntryID, ok bool) {
	for prefix, kind := range map[string]iam.Kind{userPrefix: iam.KindUser, groupPrefix: iam.KindGroup, aclPrefix: iam.KindACL} {
		if id, ok := strings.CutPrefix(name, prefix); ok {
			return iam.EntryID{Kind: kind, Name: id}, true
		}
	}
	return iam.EntryID{}, false
}

// apply makes s what it is after a change of records. It reports whether the
// directory or a record besides the times of last use has changed.
func (s *state) apply(put []iam.Record, removed []string) (changed bool) {
	s.records, s.bad = cloned(s.records), cloned(s.bad)
	var entries []iam.Entry
	var gone []iam.EntryID
	for _, name := range removed {
		changed = changed || !strings.HasPrefix(name, usedPrefix)
		delete(s.bad, name)
		if id, ok := entryID(name); ok {
			gone = append(gone, id)
		} else {
			delete(s.records, name)
		}
	}
	for _, r := range put {
		changed = changed || !strings.HasPrefix(r.Name, usedPrefix)
		delete(s.bad, r.Name)
		id, ok := entryID(r.Name)
		if !ok {
			s.records[r.Name] = r.Data
			continue
		}
		e, err := iam.Decode(id, r.Data)
		if err == nil {
			entries = append(entries, e)
			s.seeCost(e)
			continue
		}
		s.bad[r.Name] = struct{}{}
		gone = append(gone, id)
		if uid, err := iam.ParseUID(id.Name); id.Kind == iam.KindUser && err == nil {
			// It gives no right, but tokens of others never stand for it.
			entries = append(entries, &iam.User{UID: uid})
		}
	}
	if len(entries)+len(gone) > 0 {
		s.directory = s.directory.With(entries, gone...)
	}
	return changed
}

// seeCost raises the cost to that of the hash of an account.
func (s *state) seeCost(e iam.Entry) {
	if u, ok := e.(*iam.User); ok && u.Hash != "" {
		if h, err := password.Parse(u.Hash); err == nil {
			s.cost = max(s.cost, h.Rounds())
		}
	}
}

// highestCost returns how much work refusing a sign-in is: the most rounds of any
// hash, but not less than those of new ones, so that the time of a refusal does not
// say whose password it was.
func (s *state) highestCost(rounds int) int {
	cost := max(rounds, s.cost)
	for _, h := range s.file.hashes {
		cost = max(cost, h.Rounds())
	}
	return cost
}

func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return make(map[string]V)
	}
	return maps.Clone(m)
}

// lossReporter is a storage that knows which names the records that it cannot read may
// have had.
type lossReporter interface{ Lost(name string) bool }

// listener keeps the state up to date with the storage.
type listener Authority

// Load implements iam.Listener.
func (l *listener) Load(at uint64, all []iam.Record, damaged int) {
	a := (*Authority)(l)
	a.update(func(s *state) bool {
		*s = state{directory: s.sealed, sealed: s.sealed, file: s.file, loads: s.loads + 1, era: s.era, loaded: true, at: at, damaged: damaged}
		s.directory = s.directory.At(a.now())
		if of, ok := a.storage.(lossReporter); ok {
			s.directory = s.directory.WithLost(func(uid iam.UID) bool { return of.Lost(userPrefix + string(uid)) })
		}
		s.apply(all, nil)
		return true
	})
}

// Change implements iam.Listener.
func (l *listener) Change(at uint64, put []iam.Record, removed []string, damaged int) {
	(*Authority)(l).update(func(s *state) bool {
		changed := s.apply(put, removed) || damaged != s.damaged
		s.at, s.damaged = at, damaged
		return changed
	})
}

// Forget implements iam.Listener.
func (l *listener) Forget() {
	(*Authority)(l).update(func(s *state) bool {
		*s = state{directory: s.sealed, sealed: s.sealed, file: s.file, loads: s.loads, era: s.era}
		return true
	})
}
