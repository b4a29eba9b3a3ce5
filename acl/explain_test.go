package acl_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"secretstore/acl"
)

func TestAnExplanationNamesTheGrants(t *testing.T) {
	made := acl.Origin{By: "admin", At: time.Unix(1_700_000_000, 0)}
	joined := acl.Origin{By: "boss", At: time.Unix(1_700_000_500, 0)}
	g := grant(t, "dcos:secrets:default:/dev/*", acl.Full)
	g.Origin, g.Until = made, time.Unix(1_800_000_000, 0)
	crew := acl.NewGrants(acl.Holder{Source: acl.Identities, Group: "crew"}, g)
	p := mustPolicy(t, `users:
  alice:
    "dcos:secrets:default:/dev/*": [update, read]
groups:
  ops:
    members:
      - carol
      - alice
    grants:
      "dcos:secrets:default:%2Fdev%2Fdb": [read]
`).WithSuperusers("root").WithGrants(identities{
		users: map[string][]*acl.Grants{"alice": {crew}}, groups: []*acl.Grants{crew},
		since: map[string]acl.Origin{"alice crew": joined},
	})
	read := acl.Request{Op: acl.ReadSecret, Path: mustPath(t, "dev/db")}
	show := func(e acl.Explanation) string {
		var out []string
		for _, b := range e.Grants {
			out = append(out, fmt.Sprintf("%d %s %s %s line %d by %q member %d %q", b.Holder.Source, b.Holder.Group, b.Grant.ID, b.Grant.Action, b.Grant.Origin.Line, b.Grant.Origin.By, b.Member.Line, b.Member.By))
		}
		return strings.Join(out, "\n")
	}
	want := strings.Join([]string{
		`1  dcos:secrets:default:/dev/* read line 3 by "" member 0 ""`,
		`1 ops dcos:secrets:default:%2Fdev%2Fdb read line 10 by "" member 8 ""`,
		`3 crew dcos:secrets:default:/dev/* full line 0 by "admin" member 0 "boss"`,
	}, "\n")
	e := p.Explain(acl.Principal{UID: "alice"}, read)
	if got := show(e); got != want || !e.Allowed || e.Missing != nil {
		t.Errorf("alice:\n%s\nwant\n%s", got, want)
	}
	if got := e.Grants[2].Grant.Until; !got.Equal(g.Until) {
		t.Errorf("until %v", got)
	}
	if got := show(p.Explain(acl.Principal{UID: "root"}, read)); got != `2  dcos:superuser full line 0 by "" member 0 ""` {
		t.Errorf("root: %s", got)
	}
	e = p.Explain(acl.Principal{UID: "stranger"}, onBehalf(t, "dev/db", "/dev/app"))
	if e.Allowed || e.Grants != nil || fmt.Sprint(e.Missing) != "[{dcos:secrets:default:/dev/db read} {dcos:secrets:resolve:default:/dev/app read}]" {
		t.Errorf("stranger: %+v", e)
	}
	// No permission helps where a rule decides.
	e = p.Explain(acl.Principal{UID: "root"}, onBehalf(t, "dev/db", "/prod/app"))
	if e.Allowed || e.Missing != nil || e.Grants != nil || e.Reason != "secret is not accessible from service /prod/app" {
		t.Errorf("another space: %+v", e)
	}
	if e = p.Explain(bound(t, "x", "/dev"), read); !e.Allowed || e.Grants != nil || e.Reason != acl.ReasonOwnSpace {
		t.Errorf("bound: %+v", e)
	}
	e = p.Explain(acl.Principal{UID: "alice"}, acl.Request{Op: acl.Administer})
	if e.Allowed || fmt.Sprint(e.Missing) != "[{dcos:superuser full}]" {
		t.Errorf("administer: %+v", e)
	}
}

func TestRefusalNamesGrantsThatNearlyAllowIt(t *testing.T) {
	crew := acl.NewGrants(acl.Holder{Source: acl.Identities, Group: "crew"}, grant(t, "dcos:secrets:default:/team/app/*", acl.Update))
	p := mustPolicy(t, `users:
  alice:
    "dcos:secrets:default:/team/other/*": [read]
    "dcos:secrets:list:default:/team": [read]
    "dcos:secrets:default:/else/*": [full]
    "dcos:secrets:default:/teams/*": [read]
  lister: {"dcos:secrets:default:/team/*": [read]}
  wide: {"dcos:secrets:list:default:/*": [full]}
  many:
    "dcos:secrets:default:/team/1": [read]
    "dcos:secrets:default:/team/2": [read]
    "dcos:secrets:default:/team/3": [read]
    "dcos:secrets:default:/team/4": [read]
    "dcos:secrets:default:/team/5": [read]
    "dcos:secrets:default:/team/app/6": [read]
    "dcos:secrets:default:/team/app/db": [delete, create]
`).WithGrants(identities{users: map[string][]*acl.Grants{"alice": {crew}}, groups: []*acl.Grants{crew}, since: map[string]acl.Origin{"alice crew": {By: "boss"}}})
	read := acl.Request{Op: acl.ReadSecret, Path: mustPath(t, "team/app/db")}
	for _, tc := range []struct {
		uid  string
		req  acl.Request
		want string
	}{
		{"alice", read, "update dcos:secrets:default:/team/app/* crew boss, read dcos:secrets:default:/team/other/*, read dcos:secrets:list:default:/team"},
		{"lister", acl.Request{Op: acl.ListSecrets, Path: mustFolder(t, "team")}, "read dcos:secrets:default:/team/*"},
		{"wide", read, "full dcos:secrets:list:default:/*"},
		{"many", read, "delete dcos:secrets:default:/team/app/db, create dcos:secrets:default:/team/app/db, read dcos:secrets:default:/team/app/6, " +
			"read dcos:secrets:default:/team/1, read dcos:secrets:default:/team/2"},
		{"stranger", read, ""},
		{"alice", acl.Request{Op: acl.Administer}, ""},
	} {
		var got []string
		for _, b := range p.Explain(acl.Principal{UID: tc.uid}, tc.req).Near {
			got = append(got, strings.TrimSpace(b.Grant.Action.String()+" "+b.Grant.ID+" "+b.Holder.Group+" "+b.Member.By))
		}
		if got := strings.Join(got, ", "); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.uid, got, tc.want)
		}
	}
}

// TestExplanationsAgreeWithDecisions: what an explanation names is what it takes,
// and all that it takes.
func TestExplanationsAgreeWithDecisions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grants, req := genGrants().Draw(t, "grants"), genRequest().Draw(t, "request")
		for i := range grants {
			grants[i].Origin.Line = i + 1 // tells them apart
		}
		who := acl.Principal{UID: rapid.SampledFrom([]string{"u", "v", ""}).Draw(t, "uid")}
		if rapid.IntRange(0, 4).Draw(t, "bound") == 0 {
			who.Service = acl.BindTo(mustService(t, "/a/b"))
		}
		p := of(grants...)
		e := p.Explain(who, req)
		if d := p.Decide(who, req); e.Decision != d {
			t.Fatalf("explained %+v, decided %+v", e.Decision, d)
		}
		named := func(g acl.Grant) bool {
			return slices.ContainsFunc(e.Grants, func(b acl.Because) bool { return b.Grant == g })
		}
		for _, b := range e.Grants {
			if !of(b.Grant).Decide(who, req).Allowed {
				t.Fatalf("the grant %s of %s does not allow it by itself", b.Grant.Action, b.Grant.ID)
			}
		}
		if len(e.Grants) > 0 {
			if !e.Allowed {
				t.Fatal("denied, in spite of a grant")
			}
			others := slices.DeleteFunc(slices.Clone(grants), named)
			if req.Op != acl.ResolveSecrets && req.Op != acl.UseAccount && req.Op != acl.SearchNames && of(others...).Decide(who, req).Allowed {
				t.Fatal("allowed without the grants that were named")
			}
		}
		for _, m := range e.Missing {
			if e.Allowed {
				t.Fatal("something is missing although it is allowed")
			}
			if id := m.Resource.String(); id != "" && who.UID == "u" {
				if !of(append(slices.Clone(grants), grant(t, id, m.Action))...).Decide(who, req).Allowed {
					t.Fatalf("%s on %s was said to be missing, and is not enough", m.Action, id)
				}
			}
		}
		if len(e.Near) > 5 || len(e.Missing) == 0 && e.Near != nil {
			t.Fatalf("%d grants are near, and %d permissions missing", len(e.Near), len(e.Missing))
		}
		for _, b := range e.Near {
			if of(b.Grant).Decide(who, req).Allowed {
				t.Fatalf("the grant %s of %s does not nearly allow it, but by itself", b.Grant.Action, b.Grant.ID)
			}
		}
		if d := e.Decision; d.Reason == acl.ReasonNoPermission && len(e.Missing) == 0 && req.Op != acl.ResolveSecrets && req.Op != acl.UseAccount {
			t.Fatalf("denied, and nothing is missing: %+v", d)
		}
	})
}

// TestWhoCanListsExactlyWhomExplainAllows, in the policy file and elsewhere.
func TestWhoCanListsExactlyWhomExplainAllows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known := identities{users: map[string][]*acl.Grants{}}
		var group []*acl.Grants
		for _, gid := range []string{"g", "h"} {
			g := acl.NewGrants(acl.Holder{Source: acl.Identities, Group: gid}, genGrants().Draw(t, gid)...)
			group = append(group, g)
			known.users["only "+gid] = []*acl.Grants{g}
		}
		known.groups = group
		for _, uid := range []string{"a", "b", "c"} {
			known.users[uid] = []*acl.Grants{acl.NewGrants(identity, genGrants().Draw(t, uid)...)}
			if rapid.Bool().Draw(t, "in a group") {
				known.users[uid] = append(known.users[uid], rapid.SampledFrom(group).Draw(t, "group"))
			}
		}
		p := policyOf(t, `users: {a: {"dcos:secrets:default:/a/*": [update]}, file: {"dcos:secrets:default:/a/*": [read], "dcos:secrets:resolve:default:/ab*": [read]}}
groups: {f: {members: [only f], grants: {"dcos:secrets:default:/b": [read]}}}`).WithSuperusers("flag").WithGrants(known)
		req := genRequest().Draw(t, "request")
		req.HasService = false
		if _, _, ok := question(req); !ok {
			return
		}
		access := p.WhoCan(req)
		var allowed []string
		for _, uid := range []string{"a", "b", "c", "file", "flag", "only f", "only g", "only h", "stranger"} {
			if p.Explain(acl.Principal{UID: uid}, req).Allowed {
				allowed = append(allowed, uid)
			}
		}
		if !slices.Equal(access.Users, allowed) {
			t.Fatalf("who-can says %q, explain %q", access.Users, allowed)
		}
		for _, gid := range []string{"f", "g", "h"} {
			listed := slices.ContainsFunc(access.Groups, func(h acl.Holder) bool { return h.Group == gid })
			if member := slices.Contains(allowed, "only "+gid); listed != member {
				t.Fatalf("group %s: listed %v, its member is allowed: %v", gid, listed, member)
			}
		}
		if req.Op != acl.ReadSecret {
			return
		}
		// Of the services that may have the secret, some user of OnBehalf or none.
		for _, uid := range []string{"a", "b", "c", "file", "only g", "stranger"} {
			if slices.Contains(allowed, uid) {
				continue
			}
			i := slices.IndexFunc(access.OnBehalf, func(b acl.OnBehalf) bool { return b.UID == uid })
			for _, service := range []string{"/", "/a", "/a/b", "/a/b/c", "/a/bc", "/ab", "/b", "/a/b/x", "/a/bx", "/abx", "/b/x/y", "/a/b/c/d"} {
				on := req
				on.Service, on.HasService = mustService(t, service), true
				listed := i >= 0 && on.Service.MayRead(req.Path) && slices.ContainsFunc(access.OnBehalf[i].Services, func(s string) bool {
					prefix, wild := strings.CutSuffix(s, "*")
					return s == service || wild && strings.HasPrefix(service, prefix)
				})
				if e := p.Explain(acl.Principal{UID: uid}, on); e.Allowed != listed {
					t.Fatalf("%s for %s: explain %v, who-can %v (%+v)", uid, service, e.Allowed, listed, access)
				}
			}
			if i >= 0 && len(access.OnBehalf[i].Services) == 0 {
				t.Fatal("on behalf of nothing")
			}
		}
		for _, service := range []string{"/", "/a", "/a/b", "/a/b/c", "/a/bc", "/ab", "/b"} {
			in := access.HasServices && (access.Services.IsRoot() || service == access.Services.String() || strings.HasPrefix(service, access.Services.String()+"/"))
			if e := p.Explain(acl.Principal{UID: "task", Service: acl.BindTo(mustService(t, service))}, req); e.Allowed != in {
				t.Fatalf("bound to %s: explain %v, who-can %v", service, e.Allowed, in)
			}
		}
	})
}

// question returns how people ask about a request, if they can.
func question(req acl.Request) (action, path string, ok bool) {
	names := map[acl.Op]string{
		acl.CreateSecret: "create", acl.ReadSecret: "read", acl.UpdateSecret: "update", acl.DeleteSecret: "delete",
		acl.ListSecrets: "list", acl.WatchNames: "watch", acl.Administer: "administer",
	}
	action, ok = names[req.Op]
	return action, req.Path.String(), ok
}

func TestQuestions(t *testing.T) {
	svc := mustService(t, "/a")
	for _, action := range acl.QuestionActions() {
		if _, err := acl.ParseQuestion(action, "a", svc, false); err == acl.ErrUnknownQuestion {
			t.Errorf("%s is not an action", action)
		}
		if !strings.Contains(acl.ErrUnknownQuestion.Error(), action) {
			t.Errorf("the error does not name %s", action)
		}
	}
	for _, row := range []struct {
		action, path string
		service      bool
		err          error
	}{
		{"read", "/a//b/", false, nil}, {"read", "a/b", true, nil}, {"list", "", false, nil}, {"watch", "a", true, nil}, {"resolve", "", true, nil}, {"administer", "", false, nil},
		{"", "a", false, acl.ErrUnknownQuestion}, {"full", "a", false, acl.ErrUnknownQuestion}, {"Read", "a", false, acl.ErrUnknownQuestion},
		{"read", "", false, acl.ErrInvalidPath}, {"read", "/", false, acl.ErrInvalidPath}, {"read", "a%2Fb", false, acl.ErrInvalidPath}, {"list", "..", false, acl.ErrInvalidPath},
		{"resolve", "", false, acl.ErrQuestionNeedsService}, {"resolve", "a", true, acl.ErrQuestionHasPath}, {"administer", "a", false, acl.ErrQuestionHasPath},
		{"update", "a", true, acl.ErrQuestionHasService}, {"list", "a", true, acl.ErrQuestionHasService}, {"administer", "", true, acl.ErrQuestionHasService},
	} {
		if req, err := acl.ParseQuestion(row.action, row.path, svc, row.service); err != row.err || err != nil && req != (acl.Request{}) {
			t.Errorf("%+v: %+v, %v", row, req, err)
		}
	}
}

// FuzzQuestion: what the parser takes can be decided, and is asked again by its
// canonical path.
func FuzzQuestion(f *testing.F) {
	for _, s := range []string{"read", "list", "resolve", "administer", "x"} {
		f.Add(s, "a/b", true)
		f.Add(s, "//", false)
		f.Add(s, "a%2fb/../c", false)
	}
	f.Fuzz(func(t *testing.T, action, path string, hasService bool) {
		req, err := acl.ParseQuestion(action, path, acl.Service{}, hasService)
		if err != nil {
			return
		}
		if d := mustPolicy(t, "{}").Decide(acl.Principal{UID: "u"}, req); d.Allowed || d.Reason == acl.ReasonBadRequest {
			t.Fatalf("%+v: %+v", req, d)
		}
		if again, err := acl.ParseQuestion(action, req.Path.String(), acl.Service{}, hasService); err != nil || again != req {
			t.Fatalf("%+v, asked again %+v, %v", req, again, err)
		}
	})
}

// BenchmarkWhoCan asks among 10,000 users.
func BenchmarkWhoCan(b *testing.B) {
	known := identities{users: map[string][]*acl.Grants{}}
	for i := range 10_000 {
		known.users[fmt.Sprint("u", i)] = []*acl.Grants{acl.NewGrants(identity, grant(b, fmt.Sprintf("dcos:secrets:default:/t%d/*", i%100), acl.Read))}
	}
	p := (*acl.Policy)(nil).WithGrants(known)
	for b.Loop() {
		p.WhoCan(acl.Request{Op: acl.ReadSecret, Path: mustPath(b, "t7/x")})
	}
}

func policyOf(t rapid.TB, text string) *acl.Policy {
	p, err := acl.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
