package grantfile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const policy = `
users:
  alice:
    "dcos:secrets:default:/team/*": [read, update]
groups:
  ops:
    members: [carol, bob]
    grants:
      "dcos:superuser": [full]
  none: {}
`

func parse(t testing.TB, text string) Content {
	t.Helper()
	c, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shown returns items as people see them.
func shown(items []Item) (lines []string) {
	for _, i := range items {
		lines = append(lines, i.String())
	}
	return lines
}

func wantLines(t *testing.T, what string, got []Item, want ...string) {
	t.Helper()
	if !slices.Equal(shown(got), want) {
		t.Errorf("%s: %q, want %q", what, shown(got), want)
	}
}

func TestPolicyFileIsReadWithItsGroups(t *testing.T) {
	c := parse(t, policy)
	wantLines(t, "grants", c.Grants, "group ops: full on dcos:superuser", "user alice: read on dcos:secrets:default:/team/*",
		"user alice: update on dcos:secrets:default:/team/*")
	wantLines(t, "members", c.Members, "group ops: member bob", "group ops: member carol")
	if !slices.Equal(c.Groups, []string{"ops", "none"}) {
		t.Errorf("groups %q", c.Groups)
	}
}

func TestListThatIsPrintedIsReadAgain(t *testing.T) {
	until := time.Date(2030, 1, 31, 18, 0, 0, 0, time.UTC)
	list := []Listed{
		{Item: Item{User: "alice", Resource: "dcos:secrets:default:/a", Action: "read", Until: until}, By: "admin", At: until},
		{Item: Item{Group: "ops", Resource: "dcos:mesos:x", Action: "full"}},
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, "grants", parse(t, string(text)).Grants, "user alice: read on dcos:secrets:default:/a, until 2030-01-31T18:00:00Z", "group ops: full on dcos:mesos:x")
}

func TestMistakesInAFileAreAllNamed(t *testing.T) {
	_, err := Parse([]byte(`[{"user":"a","group":"b","resource":"dcos:x","action":"read"},{"user":"a","resource":"a b","action":"read"},
		{"user":"a","resource":"dcos:x","action":"frob"},{"user":"a","resource":"dcos:x","action":"read"}]`))
	if err == nil || strings.Contains(err.Error(), "grant 4") {
		t.Fatal(err)
	}
	for _, want := range []string{"grant 1: it needs either user or group", "grant 2: Invalid resource ID", "grant 3: Invalid action: frob"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	for _, text := range []string{"", `{"grants":[]}`, `[{"user":"a","resource":"dcos:x","action":"read","ends":"never"}]`, `[{"user":"a","user":"b"}]`, "[", "users: {a: {x: [read]}}"} {
		if c, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q was read as %+v", text, c)
		}
	}
}

func TestStoreIsComparedWithTheFile(t *testing.T) {
	until := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &Store{
		Users: map[string]bool{"alice": true}, Groups: map[string]bool{"ops": true, "superusers": true},
		Grants: []Item{
			{User: "alice", Resource: "dcos:secrets:default:team/*", Action: "read"}, // another spelling
			{User: "alice", Resource: "dcos:secrets:default:/team/*", Action: "update", Until: until},
			{User: "alice", Resource: "dcos:superuser", Action: "read"},
			{User: "zoe", Resource: "dcos:mesos:x", Action: "full"},
			{Group: "superusers", Resource: "dcos:superuser", Action: "full"},
		},
		Members: []Item{{Group: "ops", User: "bob"}, {Group: "ops", User: "mallory"}},
	}
	onlyFile, onlyStore := s.Compare(parse(t, policy))
	wantLines(t, "only in the file", onlyFile, "group none", "group ops: member carol", "user alice: update on dcos:secrets:default:/team/*", "group ops: full on dcos:superuser")
	wantLines(t, "only in the store", onlyStore, "group ops: member mallory", "user alice: update on dcos:secrets:default:/team/*, until 2030-01-01T00:00:00Z",
		"user zoe: full on dcos:mesos:x", "user alice: read on dcos:superuser")
	var steps []string
	for _, step := range Steps(onlyFile, onlyStore) {
		steps = append(steps, fmt.Sprint(step.Add, " ", step.Item))
	}
	want := []string{"true group none", "true group ops: member carol", "true group ops: full on dcos:superuser",
		"false user alice: update on dcos:secrets:default:/team/*, until 2030-01-01T00:00:00Z", "true user alice: update on dcos:secrets:default:/team/*",
		"false group ops: member mallory", "false user zoe: full on dcos:mesos:x", "false user alice: read on dcos:superuser"}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

// TestSuperusersOfAServerStay, whether or not the file names them.
func TestSuperusersOfAServerStay(t *testing.T) {
	s := &Store{
		Groups:  map[string]bool{"superusers": true},
		Members: []Item{{Group: "superusers", User: "mallory"}},
		Fixed:   []Item{{Group: "superusers", User: "admin"}, {Group: "superusers", User: "rescue"}},
	}
	onlyFile, onlyStore := s.Compare(parse(t, "groups: {superusers: {members: [admin, carol]}}"))
	wantLines(t, "only in the file", onlyFile, "group superusers: member carol")
	wantLines(t, "only in the store", onlyStore, "group superusers: member mallory")
}

// apply makes one change of the store.
func (s *Store) apply(step Step) {
	switch i := step.Item; {
	case !i.IsGrant() && i.User == "":
		s.Groups[i.Group] = true
	case step.Add && i.IsGrant():
		s.Grants = append(s.Grants, i)
	case step.Add:
		s.Members = append(s.Members, i)
	default:
		s.Grants = slices.DeleteFunc(s.Grants, func(g Item) bool { return g == i })
		s.Members = slices.DeleteFunc(s.Members, func(g Item) bool { return g == i })
	}
}

func (s *Store) clone() *Store {
	return &Store{Users: s.Users, Groups: maps.Clone(s.Groups), Grants: slices.Clone(s.Grants), Members: slices.Clone(s.Members)}
}

func TestAppliedFileHasNoDifferenceLeft(t *testing.T) {
	s := &Store{Groups: map[string]bool{}, Grants: []Item{{User: "x", Resource: "dcos:y", Action: "read"}}}
	c := parse(t, policy)
	for _, step := range Steps(s.Compare(c)) {
		s.apply(step)
	}
	if onlyFile, onlyStore := s.Compare(c); len(onlyFile)+len(onlyStore) > 0 {
		t.Errorf("%q, %q", onlyFile, onlyStore)
	}
}

// After any number of changes, the store has nothing that neither it nor the file had.
func TestChangesThatWereInterruptedAreFinishedByTheNextRun(t *testing.T) {
	item := rapid.Custom(func(t *rapid.T) Item {
		i := Item{Resource: rapid.SampledFrom([]string{"dcos:superuser", "dcos:x", "dcos:secrets:default:/a/*"}).Draw(t, "resource"), Action: rapid.SampledFrom([]string{"read", "full"}).Draw(t, "action")}
		if i.User = rapid.SampledFrom([]string{"alice", "bob", ""}).Draw(t, "user"); i.User == "" {
			i.Group = "ops"
		}
		if rapid.Bool().Draw(t, "ends") {
			i.Until = time.Date(2030, 1, rapid.IntRange(1, 3).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
		}
		return i
	})
	grants := rapid.SliceOfNDistinct(item, 0, 8, Item.key)
	members := rapid.SliceOfDistinct(rapid.Map(rapid.SampledFrom([]string{"alice", "bob", "carol"}), func(uid string) Item { return Item{Group: "ops", User: uid} }), Item.key)
	rapid.Check(t, func(t *rapid.T) {
		before := &Store{Groups: map[string]bool{}, Grants: grants.Draw(t, "grants"), Members: members.Draw(t, "members")}
		file := Content{Groups: []string{"ops"}, Grants: grants.Draw(t, "grants of the file"), Members: members.Draw(t, "members of the file")}
		steps := Steps(before.Compare(file))
		for made := range len(steps) + 1 {
			s := before.clone()
			for _, step := range steps[:made] {
				s.apply(step)
			}
			for _, i := range slices.Concat(s.Grants, s.Members) {
				if !slices.Contains(slices.Concat(before.Grants, before.Members, file.Grants, file.Members), i) {
					t.Fatalf("after %d changes there is %v", made, i)
				}
			}
			onlyFile, onlyStore := s.Compare(file)
			if left := len(onlyFile) + len(onlyStore); (left > 0) != (made < len(steps)) {
				t.Fatalf("after %d of %d changes, check finds %d differences", made, len(steps), left)
			}
			for _, step := range Steps(onlyFile, onlyStore) {
				s.apply(step)
			}
			if onlyFile, onlyStore := s.Compare(file); len(onlyFile)+len(onlyStore) > 0 {
				t.Fatalf("interrupted after %d changes, the next run leaves %q, %q", made, onlyFile, onlyStore)
			}
		}
	})
}

func TestSuperusersGetAnotherEndLast(t *testing.T) {
	until := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &Store{Grants: []Item{{User: "alice", Resource: "dcos:superuser", Action: "full", Until: until}, {User: "bob", Resource: "dcos:x", Action: "read"}}}
	steps := Steps(s.Compare(Content{Grants: []Item{{User: "alice", Resource: "dcos:superuser", Action: "full"}}}))
	want := []Step{{Item: s.Grants[1]}, {Item: s.Grants[0]}, {Add: true, Item: Item{User: "alice", Resource: "dcos:superuser", Action: "full"}}}
	if !slices.Equal(steps, want) {
		t.Errorf("%v, want %v", steps, want)
	}
}

func TestWhatIsOddAboutAFileIsFound(t *testing.T) {
	s := &Store{Users: map[string]bool{"alice": true}, Groups: map[string]bool{"ops": true}}
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	grant := func(resource, action string, until ...time.Time) Item {
		i := Item{User: "alice", Resource: resource, Action: action}
		if len(until) > 0 {
			i.Until = until[0]
		}
		return i
	}
	for name, row := range map[string]struct {
		grants []Item
		want   []string // kinds
	}{
		"nothing":         {[]Item{grant("dcos:secrets:default:/a", "read"), grant("dcos:mesos:x", "read")}, nil},
		"user":            {[]Item{{User: "zoe", Resource: "dcos:x", Action: "read"}, {User: "zoe", Resource: "dcos:x", Action: "full"}}, []string{Covered, UnknownUser}},
		"no account":      {[]Item{{User: "a b", Resource: "dcos:x", Action: "read"}}, []string{InvalidID}},
		"group":           {[]Item{{Group: "dev", Resource: "dcos:x", Action: "read"}}, []string{UnknownGroup}},
		"typing error":    {[]Item{grant("dcos:secrets:defualt:/a", "read")}, []string{Undecided}},
		"superuser":       {[]Item{grant("dcos:superuser*", "full")}, []string{Undecided}},
		"over":            {[]Item{grant("dcos:x", "read", now)}, []string{Ended}},
		"twice":           {[]Item{grant("dcos:secrets:default:/a", "read"), grant("dcos:secrets:default:a", "read")}, []string{Duplicate}},
		"wider":           {[]Item{grant("dcos:secrets:default:/a/*", "read"), grant("dcos:secrets:default:/a/b", "read")}, []string{Covered}},
		"full":            {[]Item{grant("dcos:x", "full"), grant("dcos:x", "read")}, []string{Covered}},
		"not full":        {[]Item{grant("dcos:x", "update"), grant("dcos:x", "read")}, nil},
		"wider ends":      {[]Item{grant("dcos:x*", "read", now.Add(1)), grant("dcos:xy", "read")}, nil},
		"narrower ends":   {[]Item{grant("dcos:x*", "read"), grant("dcos:xy", "read", now.Add(1))}, []string{Covered}},
		"all":             {[]Item{grant("dcos:superuser", "read"), grant("dcos:mesos:x", "read")}, []string{Covered}},
		"each the other":  {[]Item{grant("dcos:secrets:list:default:/", "read"), grant("dcos:secrets:list:default:/*", "read")}, []string{Covered}},
		"of another user": {[]Item{{Group: "ops", Resource: "dcos:superuser", Action: "full"}, grant("dcos:x", "read")}, nil},
	} {
		var got []string
		for _, f := range s.Findings(Content{Grants: row.grants}, now) {
			got = append(got, f.Kind)
		}
		slices.Sort(got)
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
	// A policy file makes its groups, but no accounts.
	var texts []string
	for _, f := range s.Findings(parse(t, policy), now) {
		texts = append(texts, f.Text)
	}
	if len(texts) != 2 || !strings.HasPrefix(texts[0], "user bob") || !strings.HasPrefix(texts[1], "user carol") {
		t.Errorf("%q", texts)
	}
}

// FuzzParse reads again what it has read.
func FuzzParse(f *testing.F) {
	f.Add([]byte(policy))
	f.Add([]byte(`[{"user":"a","resource":"dcos:secrets:default:%252Fa","action":"read","until":"2030-01-01T00:00:00Z","by":"b"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		s := &Store{Grants: c.Grants, Members: c.Members, Groups: map[string]bool{}}
		for _, gid := range c.Groups {
			s.Groups[gid] = true
		}
		onlyFile, onlyStore := s.Compare(c)
		if len(onlyFile)+len(onlyStore) > 0 {
			t.Fatalf("it differs from itself: %q, %q", onlyFile, onlyStore)
		}
		s.Findings(c, time.Unix(0, 0))
		text, err := json.Marshal(c.Grants)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if len(c.Grants) > 0 && err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if onlyFile, onlyStore := (&Store{Grants: c.Grants}).Compare(Content{Grants: again.Grants}); len(c.Grants) > 0 && len(onlyFile)+len(onlyStore) > 0 {
			t.Fatalf("the list differs: %q, %q", onlyFile, onlyStore)
		}
	})
}
