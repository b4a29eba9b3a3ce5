package acl_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secretstore/acl"
)

// identities is a Grantor.
type identities struct {
	users  map[string][]*acl.Grants
	since  map[string]acl.Origin // by "uid group"
	groups []*acl.Grants
}

func (i identities) SecretGrants(uid string) []*acl.Grants    { return i.users[uid] }
func (i identities) MemberSince(uid, group string) acl.Origin { return i.since[uid+" "+group] }
func (i identities) SecretHolders() (u []string, g []*acl.Grants) {
	return slices.Collect(maps.Keys(i.users)), i.groups
}

func grant(t rapid.TB, id string, a acl.Action) acl.Grant {
	t.Helper()
	p, err := acl.ParsePattern(id)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return acl.Grant{ID: id, Pattern: p, Action: a}
}

var identity = acl.Holder{Source: acl.Identities}

func TestGrantsOfTheFileAndOfTheIdentitiesAddUp(t *testing.T) {
	file := mustPolicy(t, `users: {both: {"dcos:secrets:default:/a/*": [read]}, file: {"dcos:secrets:default:/a/*": [read]}}`)
	known := identities{users: map[string][]*acl.Grants{
		"both":  {acl.NewGrants(identity, grant(t, "dcos:secrets:default:/a/x", acl.Update))},
		"iam":   {acl.NewGrants(identity, grant(t, "dcos:secrets:default:/a/*", acl.Update))},
		"root":  {acl.NewGrants(identity, grant(t, "dcos:superuser", acl.Read))},
		"plain": nil,
	}}
	p := file.WithGrants(known)
	for _, p := range []*acl.Policy{p, p.WithSuperusers("flag"), file.WithSuperusers("flag").WithGrants(known)} {
		for uid, want := range map[string]string{"both": "ru", "file": "r", "iam": "u", "root": "ru", "plain": "", "stranger": ""} {
			who := acl.Principal{UID: uid}
			got := ""
			if p.Decide(who, acl.Request{Op: acl.ReadSecret, Path: mustPath(t, "a/x")}).Allowed {
				got += "r"
			}
			if p.Decide(who, acl.Request{Op: acl.UpdateSecret, Path: mustPath(t, "a/x")}).Allowed {
				got += "u"
			}
			if got != want {
				t.Errorf("%s may %q, want %q", uid, got, want)
			}
			// A body is read for those who have some permission, be it of the identities.
			if d := p.Decide(who, acl.Request{Op: acl.ResolveSecrets}); d.Allowed != (want != "") {
				t.Errorf("%s: some permission: %v", uid, d.Allowed)
			}
		}
	}
	if d := file.Decide(acl.Principal{UID: "iam"}, acl.Request{Op: acl.UpdateSecret, Path: mustPath(t, "a/x")}); d.Allowed {
		t.Error("the old policy has changed")
	}
	var none *acl.Policy
	if d := none.WithGrants(known).Decide(acl.Principal{UID: "root"}, acl.Request{Op: acl.Administer}); !d.Allowed {
		t.Errorf("without a policy file: %+v", d)
	}
	if d := p.WithGrants(nil).Decide(acl.Principal{UID: "iam"}, acl.Request{Op: acl.UpdateSecret, Path: mustPath(t, "a/x")}); d.Allowed {
		t.Error("grants that were taken away count")
	}
}

var someActions = []acl.Action{acl.Create, acl.Read, acl.Update, acl.Delete, acl.Full}

// genGrants draws grants that are close to each other, and to genRequest.
func genGrants() *rapid.Generator[[]acl.Grant] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) acl.Grant {
		id := rapid.SampledFrom([]string{"dcos:secrets:default:/", "dcos:secrets:list:default:/", "dcos:secrets:resolve:default:/"}).Draw(t, "kind") +
			rapid.SampledFrom([]string{"a", "a/b", "a/b/c", "a/bc", "ab", "b"}).Draw(t, "rest") + rapid.SampledFrom([]string{"", "*", "/*"}).Draw(t, "end")
		switch rapid.IntRange(0, 20).Draw(t, "rare") {
		case 0:
			id = "dcos:secrets:*"
		case 1:
			id = "dcos:superuser"
		case 2:
			id = "dcos:secrets:default:*"
		}
		return grant(t, id, rapid.SampledFrom(someActions).Draw(t, "action"))
	}), 0, 12)
}

func genRequest() *rapid.Generator[acl.Request] {
	return rapid.Custom(func(t *rapid.T) acl.Request {
		req := acl.Request{
			Op:   rapid.SampledFrom(append([]acl.Op{acl.MintTaskToken, acl.ResolveSecrets}, allOps...)).Draw(t, "op"),
			Path: mustPath(t, rapid.SampledFrom([]string{"a", "a/b", "a/b/c", "a/b/c/d", "a/bc", "ab", "b", "b/x"}).Draw(t, "path")),
		}
		if rapid.Bool().Draw(t, "for a service") {
			req.HasService, req.Service = true, mustService(t, rapid.SampledFrom([]string{"/", "/a", "/a/b", "/a/b/c", "/a/bc", "/ab"}).Draw(t, "service"))
		}
		return req
	})
}

func of(grants ...acl.Grant) *acl.Policy {
	return (*acl.Policy)(nil).WithGrants(identities{users: map[string][]*acl.Grants{"u": {acl.NewGrants(identity, grants...)}}})
}

func TestMoreGrantsNeverDeny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few, more, req := genGrants().Draw(t, "few"), genGrants().Draw(t, "more"), genRequest().Draw(t, "request")
		who := acl.Principal{UID: "u"}
		if of(few...).Decide(who, req).Allowed && !of(slices.Concat(few, more)...).Decide(who, req).Allowed {
			t.Fatal("allowed by few grants, denied with more")
		}
	})
}

func TestTheOrderOfGrantsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grants, req := genGrants().Draw(t, "grants"), genRequest().Draw(t, "request")
		who := acl.Principal{UID: "u"}
		shuffled := rapid.Permutation(grants).Draw(t, "shuffled")
		if a, b := of(grants...).Decide(who, req), of(shuffled...).Decide(who, req); a != b {
			t.Fatalf("%+v, in another order %+v", a, b)
		}
		// Nor does it matter how they are divided among groups.
		cut := rapid.IntRange(0, len(grants)).Draw(t, "cut")
		divided := (*acl.Policy)(nil).WithGrants(identities{users: map[string][]*acl.Grants{"u": {acl.NewGrants(identity, grants[:cut]...), acl.NewGrants(identity, grants[cut:]...)}}})
		if a, b := of(grants...).Decide(who, req), divided.Decide(who, req); a != b && req.Op != acl.ResolveSecrets {
			t.Fatalf("%+v, divided %+v", a, b)
		}
	})
}

// Each grant is looked at by itself, for users in several groups with many grants.
func TestManyGrantsDecideAsEachByItself(t *testing.T) {
	name := rapid.StringMatching(`[ab]{1,3}(/[ab]{1,2}){0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		var groups []*acl.Grants
		var all []acl.Grant
		for range rapid.SampledFrom([]int{1, 4, 13, 20}).Draw(t, "groups") {
			var some []acl.Grant
			for range rapid.SampledFrom([]int{0, 3, 16, 17, 40}).Draw(t, "grants") {
				id := rapid.SampledFrom([]string{"dcos:secrets:default:/", "dcos:secrets:list:default:/"}).Draw(t, "kind") + name.Draw(t, "rest") + rapid.SampledFrom([]string{"", "*", "/*"}).Draw(t, "end")
				some = append(some, grant(t, id, rapid.SampledFrom(someActions).Draw(t, "action")))
			}
			groups, all = append(groups, acl.NewGrants(identity, some...)), append(all, some...)
		}
		p := (*acl.Policy)(nil).WithGrants(identities{users: map[string][]*acl.Grants{"u": groups}})
		for range 20 {
			path := mustPath(t, name.Draw(t, "path"))
			for op, want := range map[acl.Op]acl.Action{acl.ReadSecret: acl.Read, acl.DeleteSecret: acl.Delete, acl.ListSecrets: acl.Read} {
				on := []acl.Resource{acl.SecretResource(path)}
				if op == acl.ListSecrets {
					on = []acl.Resource{acl.ListResource(acl.Path{})}
					for f := path; !f.IsRoot(); f = f.Folder() {
						on = append(on, acl.ListResource(f))
					}
				}
				allowed := slices.ContainsFunc(all, func(g acl.Grant) bool {
					return (g.Action == want || g.Action == acl.Full) && slices.ContainsFunc(on, g.Pattern.Matches)
				})
				if d := p.Decide(acl.Principal{UID: "u"}, acl.Request{Op: op, Path: path}); d.Allowed != allowed {
					t.Fatalf("op %d on %s: allowed %v, want %v", op, path, d.Allowed, allowed)
				}
			}
		}
	})
}

func TestSpellingsOfAResourceDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grants, req := genGrants().Draw(t, "grants"), genRequest().Draw(t, "request")
		spelled := slices.Clone(grants)
		for i, g := range spelled {
			slash := rapid.SampledFrom([]string{"/", "%2F", "%2f", "%252F", "%252f"}).Draw(t, "slash")
			id := strings.ReplaceAll(g.ID, "/", slash)
			if rapid.Bool().Draw(t, "without the first slash") {
				id = strings.Replace(id, ":"+slash, ":", 1)
			}
			spelled[i] = grant(t, id, g.Action)
		}
		who := acl.Principal{UID: "u"}
		if a, b := of(grants...).Decide(who, req), of(spelled...).Decide(who, req); a != b {
			t.Fatalf("%+v, spelled differently %+v", a, b)
		}
	})
}

// TestGrantsAreFoundAmongMany compares the lookup with asking each pattern.
func TestGrantsAreFoundAmongMany(t *testing.T) {
	text := rapid.StringOfN(rapid.SampledFrom([]rune("ab/")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		var grants []acl.Grant
		common := text.Draw(t, "common")
		for _, rest := range rapid.SliceOfN(text, 0, 30).Draw(t, "rests") {
			end := rapid.SampledFrom([]string{"", "*"}).Draw(t, "end")
			if p, err := acl.ParsePattern("dcos:secrets:default:" + common + rest + end); err == nil {
				grants = append(grants, acl.Grant{Pattern: p, Action: rapid.SampledFrom(someActions).Draw(t, "action")})
			}
		}
		path, err := acl.ParsePath(rapid.SampledFrom([]string{"", common}).Draw(t, "below") + text.Draw(t, "path"))
		if err != nil || path.IsRoot() {
			return
		}
		for op, action := range map[acl.Op]acl.Action{acl.CreateSecret: acl.Create, acl.ReadSecret: acl.Read, acl.UpdateSecret: acl.Update, acl.DeleteSecret: acl.Delete} {
			want := slices.ContainsFunc(grants, func(g acl.Grant) bool {
				return (g.Action == action || g.Action == acl.Full) && g.Pattern.Matches(acl.SecretResource(path))
			})
			if d := of(grants...).Decide(acl.Principal{UID: "u"}, acl.Request{Op: op, Path: path}); d.Allowed != want {
				t.Fatalf("%s on %s: %+v, want %v", action, path, d, want)
			}
		}
	})
}

// BenchmarkDecideAmongManyGrants decides for a user with all of 100,000 grants,
// which are in 50 groups, half of them with a wildcard.
func BenchmarkDecideAmongManyGrants(b *testing.B) {
	var sets []*acl.Grants
	for g := range 50 {
		var grants []acl.Grant
		for i := range 1000 {
			grants = append(grants, grant(b, fmt.Sprintf("dcos:secrets:default:/g%d/s%d", g, i), acl.Read), grant(b, fmt.Sprintf("dcos:secrets:default:/g%d/w%d/*", g, i), acl.Read))
		}
		sets = append(sets, acl.NewGrants(acl.Holder{Source: acl.Identities, Group: fmt.Sprint(g)}, grants...))
	}
	p := (*acl.Policy)(nil).WithGrants(identities{users: map[string][]*acl.Grants{"u": sets}})
	for name, path := range map[string]string{"exact": "g49/s500", "wildcard": "g49/w500/x", "denied": "g49/none"} {
		req := acl.Request{Op: acl.ReadSecret, Path: mustPath(b, path)}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(acl.Principal{UID: "u"}, req)
			}
		})
	}
}
