package acl_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secretstore/acl"
)

var allOps = []acl.Op{acl.ReadSecret, acl.CreateSecret, acl.UpdateSecret, acl.DeleteSecret, acl.ListSecrets, acl.ViewStore, acl.Administer, acl.ReadVersions, acl.WatchNames, acl.ViewMode, acl.UseAccount, acl.QueryPolicy, acl.SearchNames}

func bound(t testing.TB, uid, service string) acl.Principal {
	return acl.Principal{UID: uid, Service: acl.BindTo(mustService(t, service))}
}

func onBehalf(t testing.TB, path, service string) acl.Request {
	return acl.Request{Op: acl.ReadSecret, Path: mustPath(t, path), Service: mustService(t, service), HasService: true}
}

func TestZeroValuesAreRefused(t *testing.T) {
	live := mustPolicy(t, "{}").WithSuperusers("root", "")
	for _, p := range []*acl.Policy{nil, {}} {
		for _, op := range append([]acl.Op{acl.MintTaskToken}, allOps...) {
			for _, who := range []acl.Principal{{UID: "root"}, bound(t, "root", "/a")} {
				if d := p.Decide(who, acl.Request{Op: op, Path: mustPath(t, "a/b")}); d.Allowed {
					t.Errorf("no policy, op %d, %+v: allowed", op, who)
				}
			}
		}
	}
	for _, op := range allOps {
		if d := live.Decide(acl.Principal{}, acl.Request{Op: op, Path: mustPath(t, "a")}); d.Allowed {
			t.Errorf("op %d: the principal without uid is allowed, although \"\" was made superuser", op)
		}
		if d := live.Decide(bound(t, "", "/a"), acl.Request{Op: op, Path: mustPath(t, "a")}); d.Allowed {
			t.Errorf("op %d: a service without a uid is allowed", op)
		}
	}
	for _, req := range []acl.Request{{}, {Path: mustPath(t, "a")}, {Op: 200, Path: mustPath(t, "a")}, {Op: acl.ReadSecret}, {Op: acl.CreateSecret}} {
		if d := live.Decide(acl.Principal{UID: "root"}, req); d.Allowed {
			t.Errorf("%+v: allowed", req)
		}
	}
	if (acl.Decision{}).Allowed {
		t.Error("the zero decision allows")
	}
}

func TestActions(t *testing.T) {
	p := mustPolicy(t, `
users:
  c: {"dcos:secrets:default:/x": [create]}
  r: {"dcos:secrets:default:/x": [read]}
  u: {"dcos:secrets:default:/x": [update]}
  d: {"dcos:secrets:default:/x": [delete]}
  f: {"dcos:secrets:default:/x": [full]}
  w: {"dcos:secrets:default:/*": [read, update]}
`)
	may := map[string]string{"c": "c", "r": "r", "u": "u", "d": "d", "f": "crud", "w": "ru", "s": ""}
	ops := map[string]acl.Op{"c": acl.CreateSecret, "r": acl.ReadSecret, "u": acl.UpdateSecret, "d": acl.DeleteSecret}
	names := map[string]string{"c": "create", "r": "read", "u": "update", "d": "delete"}
	for uid, allowed := range may {
		for letter, op := range ops {
			d := p.Decide(acl.Principal{UID: uid}, acl.Request{Op: op, Path: mustPath(t, "x")})
			if d.Allowed != strings.Contains(allowed, letter) || d.Action != names[letter] || d.Resource != "dcos:secrets:default:/x" {
				t.Errorf("%s, %s: %+v", uid, letter, d)
			}
		}
		for _, op := range []acl.Op{acl.ListSecrets, acl.WatchNames, acl.Administer} {
			if p.Decide(acl.Principal{UID: uid}, acl.Request{Op: op}).Allowed {
				t.Errorf("%s: op %d allowed by a grant on a secret", uid, op)
			}
		}
		if !p.Decide(acl.Principal{UID: uid}, acl.Request{Op: acl.ViewStore}).Allowed {
			t.Errorf("%s may not see the store", uid)
		}
	}
}

// Any one action on dcos:superuser is everything; no wildcard is.
func TestSuperuser(t *testing.T) {
	for _, action := range []string{"create", "read", "update", "delete", "full"} {
		p := mustPolicy(t, "users: {root: {dcos:superuser: ["+action+"]}}")
		for _, op := range allOps {
			d := p.Decide(acl.Principal{UID: "root"}, acl.Request{Op: op, Path: mustPath(t, "a/b")})
			if !d.Allowed {
				t.Errorf("%s on dcos:superuser, op %d: %+v", action, op, d)
			}
		}
	}
	for _, id := range []string{"*", "dcos:*", "dcos:s*", "dcos:secrets:*", "dcos:secrets:default:*"} {
		p := mustPolicy(t, fmt.Sprintf("users: {u: {%q: [full]}}", id))
		if d := p.Decide(acl.Principal{UID: "u"}, acl.Request{Op: acl.Administer}); d.Allowed {
			t.Errorf("full on %q administers", id)
		}
	}
}

// TestSecurityModeNeedsFullOnTheMetadata: the permission of DC/OS, by its exact name.
func TestSecurityModeNeedsFullOnTheMetadata(t *testing.T) {
	for grant, want := range map[string]bool{
		"{dcos:adminrouter:ops:metadata: [full]}":                         true,
		"{dcos:adminrouter:ops:metadata: [create, read, update, delete]}": false,
		`{"dcos:secrets:*": [full], "*": [full], "dcos:*": [full]}`:       false,
		"{dcos:superuser: [read]}":                                        true,
	} {
		p := mustPolicy(t, "users: {u: "+grant+"}")
		d := p.Decide(acl.Principal{UID: "u"}, acl.Request{Op: acl.ViewMode})
		if d.Allowed != want || d.Resource != "dcos:adminrouter:ops:metadata" || d.Action != "full" {
			t.Errorf("%s: %+v", grant, d)
		}
		if d := p.Decide(acl.Principal{UID: "u"}, acl.Request{Op: acl.ReadSecret, Path: mustPath(t, "a")}); d.Allowed && !strings.Contains(grant, "super") && !strings.Contains(grant, "secrets") {
			t.Errorf("%s: reads secrets", grant)
		}
	}
}

func TestAnAccountIsForItselfAndSuperusers(t *testing.T) {
	p := mustPolicy(t, `users: {root: {"dcos:superuser": [full]}, bob: {"dcos:secrets:default:/*": [full]}}`)
	for _, row := range []struct {
		who, account, reason string
		allowed              bool
	}{
		{"bob", "bob", acl.ReasonOwnAccount, true},
		{"stranger", "stranger", acl.ReasonOwnAccount, true},
		{"root", "root", acl.ReasonSuperuser, true},
		{"root", "bob", acl.ReasonSuperuser, true},
		{"root", "", acl.ReasonSuperuser, true},
		{"bob", "root", acl.ReasonNoPermission, false},
		{"bob", "", acl.ReasonNoPermission, false},
		{"bob", "Bob", acl.ReasonNoPermission, false},
		{"", "", acl.ReasonNobody, false},
	} {
		d := p.Decide(acl.Principal{UID: row.who}, acl.Request{Op: acl.UseAccount, Account: row.account})
		if d.Allowed != row.allowed || d.Reason != row.reason {
			t.Errorf("%s on the account %s: %+v", row.who, row.account, d)
		}
	}
	bound := acl.Principal{UID: "bob", Service: acl.BindTo(mustService(t, "/bob"))}
	if d := p.Decide(bound, acl.Request{Op: acl.UseAccount, Account: "bob"}); d.Allowed {
		t.Errorf("bound to a service: %+v", d)
	}
}

func TestQueriesAboutOthersNeedTheirOwnPermission(t *testing.T) {
	p := mustPolicy(t, `users: {router: {"dcos:iam:policyquery": [read]}, writer: {"dcos:iam:policyquery": [create, update]}, broad: {"*": [full], "dcos:*": [full]}}`)
	for uid, want := range map[string]bool{"router": true, "writer": false, "broad": false, "stranger": false, "": false} {
		if d := p.Decide(acl.Principal{UID: uid}, acl.Request{Op: acl.QueryPolicy}); d.Allowed != want {
			t.Errorf("%s: %+v", uid, d)
		}
	}
}

// TestAResourceIsDecidedAsTheOperationOnIt compares DecideResource with Decide.
func TestAResourceIsDecidedAsTheOperationOnIt(t *testing.T) {
	p := mustPolicy(t, `
users:
  root: {"dcos:superuser": [read]}
  dev: {"dcos:secrets:default:/dev/*": [read, update], "dcos:secrets:list:default:/dev": [read], "dcos:secrets:default:/x": [full]}
`)
	ops := map[acl.Action]acl.Op{acl.Create: acl.CreateSecret, acl.Read: acl.ReadSecret, acl.Update: acl.UpdateSecret, acl.Delete: acl.DeleteSecret}
	for _, uid := range []string{"root", "dev", "stranger", ""} {
		who := acl.Principal{UID: uid}
		for _, path := range []string{"dev/a", "dev/a/b", "x", "x/y", "devel"} {
			pattern, err := acl.ParsePattern("dcos:secrets:default:" + path)
			if err != nil {
				t.Fatal(err)
			}
			for a, op := range ops {
				want := p.Decide(who, acl.Request{Op: op, Path: mustPath(t, path)})
				if got := p.DecideResource(who, pattern, a); got.Allowed != want.Allowed || got.Resource != want.Resource || got.Action != want.Action {
					t.Errorf("%s, %s on %s: %+v, want %+v", uid, a, path, got, want)
				}
			}
			list, err := acl.ParsePattern("dcos:secrets:list:default:/" + path)
			if err != nil {
				t.Fatal(err)
			}
			want := p.Decide(who, acl.Request{Op: acl.ListSecrets, Path: mustPath(t, path)})
			if got := p.DecideResource(who, list, acl.Read); got.Allowed != want.Allowed {
				t.Errorf("%s, list of %s: %+v, want %+v", uid, path, got, want)
			}
		}
	}
	for id, want := range map[string]bool{"dcos:secrets:default:/dev/*": false, "dcos:superuser": false, "dcos:secrets:*": false, "dcos:iam:policyquery": false} {
		pattern, err := acl.ParsePattern(id)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.DecideResource(acl.Principal{UID: "dev"}, pattern, acl.Read); got.Allowed != want {
			t.Errorf("%s: %+v", id, got)
		}
		if got := p.DecideResource(acl.Principal{UID: "root"}, pattern, acl.Read); !got.Allowed {
			t.Errorf("superuser, %s: %+v", id, got)
		}
	}
	if d := (*acl.Policy)(nil).DecideResource(acl.Principal{UID: "root"}, acl.Pattern{}, acl.Read); d.Allowed {
		t.Errorf("without a policy: %+v", d)
	}
	if d := p.DecideResource(acl.Principal{UID: "dev"}, acl.Pattern{}, acl.Read); d.Allowed {
		t.Errorf("nothing: %+v", d)
	}
	if d := p.DecideResource(acl.Principal{UID: "root"}, acl.Pattern{}, 0); d.Allowed {
		t.Errorf("no action: %+v", d)
	}
}

func TestWithSuperusersLeavesTheOldPolicyAlone(t *testing.T) {
	old := mustPolicy(t, `users: {u: {"dcos:secrets:default:/x": [read]}}`)
	n := old.WithSuperusers("u", "v")
	administer := acl.Request{Op: acl.Administer}
	for _, uid := range []string{"u", "v"} {
		if old.Decide(acl.Principal{UID: uid}, administer).Allowed || !n.Decide(acl.Principal{UID: uid}, administer).Allowed {
			t.Errorf("%s: superuser before, or not after", uid)
		}
	}
	if n.Decide(acl.Principal{UID: "w"}, administer).Allowed {
		t.Error("w has become superuser")
	}
	var none *acl.Policy
	if !none.WithSuperusers("v").Decide(acl.Principal{UID: "v"}, administer).Allowed {
		t.Error("no superuser without a policy")
	}
	if !none.WithSuperusers().Decide(bound(t, "svc", "/a"), acl.Request{Op: acl.ReadSecret, Path: mustPath(t, "a/x")}).Allowed {
		t.Error("a service cannot read its space where there is no policy file")
	}
}

func TestLists(t *testing.T) {
	p := mustPolicy(t, `
users:
  root: {"dcos:secrets:list:default:/": [read]}
  dev: {"dcos:secrets:list:default:/dev": [read]}
  full: {"dcos:secrets:list:default:/dev": [full]}
  wrong: {"dcos:secrets:list:default:/dev": [create, update, delete]}
  below: {"dcos:secrets:list:default:/dev/*": [read]}
  all: {"dcos:secrets:list:default:/*": [read]}
  reader: {"dcos:secrets:default:/*": [full]}
`)
	folders := []string{"", "dev", "dev/a", "dev/a/b", "dev2", "de"}
	for uid, want := range map[string]string{
		"root": "111111", "dev": "011100", "full": "011100", "wrong": "000000", "below": "001100", "all": "111111", "reader": "000000",
	} {
		for i, folder := range folders {
			path, err := acl.ParseFolder(folder)
			if err != nil {
				t.Fatal(err)
			}
			d := p.Decide(acl.Principal{UID: uid}, acl.Request{Op: acl.ListSecrets, Path: path})
			if d.Allowed != (want[i] == '1') || d.Resource != "dcos:secrets:list:default:/"+folder || d.Action != "read" {
				t.Errorf("%s lists %q: %+v; want %c", uid, folder, d, want[i])
			}
		}
	}
}

// The rule of lists, said again: read on the list of the folder or of one of
// its parents.
func TestAListIsGrantedByItselfOrAParent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		granted, asked := genNames(3).Draw(t, "granted"), genNames(4).Draw(t, "asked")
		if rapid.Bool().Draw(t, "near") {
			asked = granted + rapid.SampledFrom([]string{"/", "2"}).Draw(t, "sep") + asked
		}
		p, err := acl.ParsePolicy([]byte(fmt.Sprintf("users: {u: {%q: [read]}}", "dcos:secrets:list:default:/"+granted)))
		if err != nil {
			t.Fatal(err)
		}
		want := strings.HasPrefix(asked+"/", granted+"/")
		if d := p.Decide(acl.Principal{UID: "u"}, acl.Request{Op: acl.ListSecrets, Path: mustPath(t, asked)}); d.Allowed != want {
			t.Fatalf("grant %q, asked %q: %v", granted, asked, d.Allowed)
		}
	})
}

// A caller that names a service needs the space and a permission, superusers
// too.
func TestReadingOnBehalfOfAService(t *testing.T) {
	p := mustPolicy(t, `
users:
  marathon: {"dcos:secrets:resolve:default:/*": [read]}
  full: {"dcos:secrets:resolve:default:/*": [full]}
  create: {"dcos:secrets:resolve:default:/*": [create, update, delete]}
  team: {"dcos:secrets:resolve:default:/group/*": [read]}
  agent: {"dcos:secrets:default:/group/secret": [read]}
  super: {"dcos:superuser": [full]}
`)
	const denied = "permission denied"
	outside := func(s string) string { return "secret is not accessible from service " + s }
	for _, tc := range []struct{ uid, path, service, refusal string }{
		{"marathon", "group/secret", "/group/hdfs/service", ""},
		{"marathon", "group/secret", "/marathon-user/service", outside("/marathon-user/service")},
		{"marathon", "hdfs/secret", "/hdfs2", outside("/hdfs2")},
		{"marathon", "prod/db/secret", "prod.db.backup", ""},
		{"marathon", "secret", "/", ""},
		{"marathon", "a/secret", "/", outside("/")},
		{"full", "group/secret", "/group/a", ""},
		{"create", "group/secret", "/group/a", denied},
		{"team", "group/secret", "/group/a", ""},
		{"team", "group/secret", "/group", denied},
		{"team", "secret", "/group2/a", denied},
		{"agent", "group/secret", "/group/a", ""},
		{"agent", "group/secret", "/other", outside("/other")},
		{"agent", "group/secret2", "/group/a", denied},
		{"super", "group/secret", "/group/a", ""},
		{"super", "group/secret", "/other", outside("/other")},
		{"stranger", "group/secret", "/group/a", denied},
	} {
		d := p.Decide(acl.Principal{UID: tc.uid}, onBehalf(t, tc.path, tc.service))
		if d.Allowed != (tc.refusal == "") || !d.Allowed && d.Reason != tc.refusal {
			t.Errorf("%s, %s for %s: %+v; want refusal %q", tc.uid, tc.path, tc.service, d, tc.refusal)
		}
		if d.Resource != "dcos:secrets:default:/"+tc.path || d.Action != "read" {
			t.Errorf("%s, %s for %s: resource %q, action %q", tc.uid, tc.path, tc.service, d.Resource, d.Action)
		}
	}
	// The resolve permission allows nothing without a service, nor anything but
	// reading.
	for _, op := range allOps {
		if op == acl.ViewStore {
			continue
		}
		if d := p.Decide(acl.Principal{UID: "marathon"}, acl.Request{Op: op, Path: mustPath(t, "group/secret")}); d.Allowed {
			t.Errorf("op %d is allowed by a resolve permission", op)
		}
	}
	for _, op := range allOps[1:] {
		if op == acl.WatchNames {
			continue // see TestWhichChangesAPrincipalSees
		}
		req := acl.Request{Op: op, Path: mustPath(t, "group/secret"), Service: mustService(t, "/group/a"), HasService: true}
		for _, uid := range []string{"marathon", "full", "super"} {
			if d := p.Decide(acl.Principal{UID: uid}, req); d.Allowed {
				t.Errorf("%s: op %d with a service is allowed", uid, op)
			}
		}
	}
}

// A token that is bound to a service reads the secrets of its spaces and does
// nothing else, whatever its uid may do.
func TestWhichChangesAPrincipalSees(t *testing.T) {
	p := mustPolicy(t, `
users:
  all: {"dcos:secrets:list:default:/": [read]}
  group: {"dcos:secrets:list:default:/group": [read]}
  reader: {"dcos:secrets:default:/*": [read]}
  both: {"dcos:secrets:list:default:/group": [read], "dcos:secrets:default:/group/a": [read]}
  scheduler: {"dcos:secrets:resolve:default:/group/*": [read]}
`).WithSuperusers("root")
	for _, row := range []struct {
		who, folder, service, name string // service "" names none
		open, hear                 bool
	}{
		{"all", "", "", "group/a", true, true},
		{"all", "group", "", "group/deep/er/a", true, true},
		{"all", "group", "", "group2/a", true, false},
		{"all", "group", "", "group", true, false},
		{"all", "", "/group/app", "group/a", true, false}, // may list, but read nothing for a service
		{"group", "group", "", "group/a", true, true},
		{"group", "group/deep", "", "group/deep/a", true, true},
		{"group", "group/deep", "", "group/a", true, false},
		{"group", "", "", "group/a", false, false},
		{"group", "grou", "", "group/a", false, false},
		{"reader", "", "", "a", false, false},
		{"reader", "", "/group/app", "a", false, false},
		{"both", "group", "", "group/b", true, true},
		{"both", "group", "/group/app", "group/a", true, true},
		{"both", "group", "/group/app", "group/b", true, false},
		{"both", "group", "/other/app", "group/a", true, false},
		{"scheduler", "", "", "a", false, false},
		{"scheduler", "", "/group/app", "a", true, true},
		{"scheduler", "", "/group/app", "group/a", true, true},
		{"scheduler", "group", "/group/app", "a", true, false},
		{"scheduler", "", "/group/app", "group/app/a", true, true},
		{"scheduler", "", "/group/app", "group/other/a", true, false},
		{"scheduler", "", "/other/app", "a", false, false},
		{"root", "", "", "a/b", true, true},
		{"root", "", "/other/app", "group/a", true, false},
		{"nobody", "", "", "a", false, false},
	} {
		folder, err := acl.ParseFolder(row.folder)
		if err != nil {
			t.Fatal(err)
		}
		req := acl.Request{Op: acl.WatchNames, Path: folder}
		if row.service != "" {
			req.Service, req.HasService = mustService(t, row.service), true
		}
		who := acl.Principal{UID: row.who}
		d := p.Decide(who, req)
		if d.Allowed != row.open {
			t.Errorf("%+v: %+v", row, d)
		}
		// The list of a folder is not what a scheduler is to ask for.
		if lacks := "dcos:secrets:resolve:default:" + row.service; row.service != "" && !d.Allowed && d.Resource != lacks {
			t.Errorf("%+v: lacks %s", row, d.Resource)
		}
		if got := p.MayHear(who, req, mustPath(t, row.name)); got != row.hear {
			t.Errorf("%+v: hears %v", row, got)
		}
		who.Service = acl.BindTo(mustService(t, "/group/app"))
		if d := p.Decide(who, req); d.Allowed || p.MayHear(who, req, mustPath(t, row.name)) {
			t.Errorf("%+v: allowed to a bound token", row)
		}
		if p.MayHear(acl.Principal{UID: row.who}, acl.Request{Op: acl.ReadSecret, Path: mustPath(t, row.name)}, mustPath(t, row.name)) {
			t.Errorf("%+v: hears without following changes", row)
		}
	}
}

func TestTokensBoundToAService(t *testing.T) {
	p := mustPolicy(t, `users: {u: {"dcos:secrets:*": [full]}}`).WithSuperusers("root")
	for _, uid := range []string{"u", "root", "unknown"} {
		who := bound(t, uid, "/group/a")
		for path, want := range map[string]string{
			"secret": "", "group/secret": "", "group/a/secret": "",
			"group/a/b/secret": "secret is not accessible from service /group/a",
			"group/b/secret":   "secret is not accessible from service /group/a",
			"grou/secret":      "secret is not accessible from service /group/a",
		} {
			d := p.Decide(who, acl.Request{Op: acl.ReadSecret, Path: mustPath(t, path)})
			if d.Allowed != (want == "") || !d.Allowed && d.Reason != want {
				t.Errorf("%s bound to /group/a reads %s: %+v", uid, path, d)
			}
		}
		if d := p.Decide(who, onBehalf(t, "group/secret", "/group/a")); !d.Allowed {
			t.Errorf("%s: naming its own service: %+v", uid, d)
		}
		for _, other := range []string{"/group", "/group/a/b", "/group/b", "/"} {
			if d := p.Decide(who, onBehalf(t, "secret", other)); d.Allowed || !strings.HasPrefix(d.Reason, "secret is not accessible from service "+other) {
				t.Errorf("%s: naming %s: %+v", uid, other, d)
			}
		}
		for _, op := range allOps[1:] {
			if d := p.Decide(who, acl.Request{Op: op, Path: mustPath(t, "secret")}); d.Allowed {
				t.Errorf("%s bound to a service: op %d allowed", uid, op)
			}
		}
		if d := p.Decide(bound(t, uid, "/"), acl.Request{Op: acl.ReadSecret, Path: mustPath(t, "group/secret")}); d.Allowed {
			t.Errorf("%s bound to the root service reads group/secret", uid)
		}
	}
}

// Whatever users call their secrets, services and themselves, a grant for one
// of them reaches no other.
func TestNamesNeverWidenAPolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mine := genNames(3).Draw(t, "mine")
		p, err := acl.ParsePolicy([]byte(fmt.Sprintf("users: {me: {%q: [full], %q: [read], %q: [read]}}", "dcos:secrets:default:/"+mine+"/*",
			"dcos:secrets:list:default:/"+mine, "dcos:secrets:resolve:default:/"+mine)))
		if err != nil {
			t.Fatal(err)
		}
		path := mustPath(t, rapid.SampledFrom([]string{"", mine, mine + "/"}).Draw(t, "near")+genNames(3).Draw(t, "path"))
		service := mustService(t, "/"+rapid.SampledFrom([]string{"", mine + "/"}).Draw(t, "near")+genNames(2).Draw(t, "service"))
		under := strings.HasPrefix(path.String(), mine+"/")
		for _, op := range []acl.Op{acl.ReadSecret, acl.CreateSecret, acl.UpdateSecret, acl.DeleteSecret} {
			if d := p.Decide(acl.Principal{UID: "me"}, acl.Request{Op: op, Path: path}); d.Allowed != under {
				t.Fatalf("op %d on %q with a grant below %q: %+v", op, path, mine, d)
			}
		}
		d := p.Decide(acl.Principal{UID: "me"}, acl.Request{Op: acl.ReadSecret, Path: path, Service: service, HasService: true})
		if want := service.MayRead(path) && (under || service.String() == "/"+mine); d.Allowed != want {
			t.Fatalf("%q for %q with a grant for %q: %+v", path, service, mine, d)
		}
		other := genComponent().Filter(func(s string) bool { return s != "me" }).Draw(t, "other")
		if d := p.Decide(acl.Principal{UID: other}, acl.Request{Op: acl.ReadSecret, Path: path}); d.Allowed {
			t.Fatalf("%q has the grants of me", other)
		}
	})
}

func TestValidUID(t *testing.T) {
	for _, s := range []string{"a", "dcos_marathon", "alice@example.org", "CN=A B", strings.Repeat("x", 256), "7", "*"} {
		if !acl.ValidUID(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{"", " a", "a ", "a\n", "a\x00b", "\x7f", "å", "\xff", "a\tb", strings.Repeat("x", 257)} {
		if acl.ValidUID(s) {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestActionNames(t *testing.T) {
	for _, a := range []acl.Action{acl.Create, acl.Read, acl.Update, acl.Delete, acl.Full} {
		if got, err := acl.ParseAction(a.String()); err != nil || got != a {
			t.Errorf("%v parses as %v, %v", a, got, err)
		}
	}
	for _, s := range []string{"", "READ", "read ", "list", "*"} {
		if a, err := acl.ParseAction(s); err == nil || a != 0 {
			t.Errorf("%q parses as %v", s, a)
		}
	}
	if acl.Action(0).String() != "" || acl.Action(99).String() != "" {
		t.Error("an invalid action has a name")
	}
}

func BenchmarkDecide(b *testing.B) {
	var text strings.Builder
	text.WriteString("users:\n  alice:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "    \"dcos:secrets:default:/team/app%d\": [read]\n", i)
	}
	for i := range 10 {
		fmt.Fprintf(&text, "    \"dcos:secrets:default:/wild%d/*\": [full]\n", i)
	}
	text.WriteString("    \"dcos:secrets:list:default:/\": [read]\n  marathon: {\"dcos:secrets:resolve:default:/*\": [read]}\n")
	p := mustPolicy(b, text.String())
	deep, err := acl.ParseFolder("a/b/c/d/e/f/g/h")
	if err != nil {
		b.Fatal(err)
	}
	for _, bc := range []struct {
		name string
		who  acl.Principal
		req  acl.Request
		want bool
	}{
		{"exact", acl.Principal{UID: "alice"}, acl.Request{Op: acl.ReadSecret, Path: mustPath(b, "team/app500")}, true},
		{"last wildcard", acl.Principal{UID: "alice"}, acl.Request{Op: acl.ReadSecret, Path: mustPath(b, "wild9/some/secret")}, true},
		{"denied", acl.Principal{UID: "alice"}, acl.Request{Op: acl.ReadSecret, Path: mustPath(b, "none/of/these")}, false},
		{"deep list", acl.Principal{UID: "alice"}, acl.Request{Op: acl.ListSecrets, Path: deep}, true},
		{"on behalf", acl.Principal{UID: "marathon"}, onBehalf(b, "group/secret", "/group/app"), true},
		{"bound", bound(b, "x", "/group/app"), acl.Request{Op: acl.ReadSecret, Path: mustPath(b, "group/secret")}, true},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p.Decide(bc.who, bc.req).Allowed != bc.want {
					b.Fatal("wrong decision")
				}
			}
		})
	}
}

func BenchmarkParsePath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := acl.ParsePath("/group/hdfs/some-secret.key"); err != nil {
			b.Fatal(err)
		}
	}
}

func TestWhoMayMakeTaskTokens(t *testing.T) {
	p := mustPolicy(t, `
users:
  scheduler: {"dcos:secrets:resolve:default:/group/*": [read]}
  exact: {"dcos:secrets:resolve:default:/group/app": [read]}
  alice: {"dcos:secrets:default:/*": [full], "dcos:secrets:list:default:/": [read]}
`).WithSuperusers("root")
	for _, row := range []struct {
		uid, service string
		want         bool
	}{
		{"scheduler", "/group/app", true},
		{"scheduler", "/other/app", false},
		{"exact", "/group/app", true},
		{"exact", "/group/app/x", false},
		{"alice", "/group/app", false},
		{"root", "/any", true},
		{"nobody", "/group/app", false},
	} {
		d := p.Decide(acl.Principal{UID: row.uid}, acl.Request{Op: acl.MintTaskToken, Service: mustService(t, row.service), HasService: true})
		if d.Allowed != row.want || d.Resource != "dcos:secrets:resolve:default:"+row.service || d.Action != "read" {
			t.Errorf("%s for %s: %+v", row.uid, row.service, d)
		}
	}
	if d := p.Decide(acl.Principal{UID: "root"}, acl.Request{Op: acl.MintTaskToken}); d.Allowed || d.Resource != "" {
		t.Errorf("for no service: %+v", d)
	}
	if d := p.Decide(bound(t, "scheduler", "/group/app"), acl.Request{Op: acl.MintTaskToken, Service: mustService(t, "/group/app"), HasService: true}); d.Allowed {
		t.Errorf("by a bound token: %+v", d)
	}
}

func TestWhoMayCreateSomethingBelowAFolder(t *testing.T) {
	p := mustPolicy(t, `
users:
  exact: {"dcos:secrets:default:/a/b/c": [create]}
  wild: {"dcos:secrets:default:/a/b*": [full]}
  reads: {"dcos:secrets:default:/a/*": [read], "dcos:secrets:list:default:/a": [create]}
`).WithSuperusers("root")
	for _, tc := range []struct {
		uid, folders, none string
	}{
		{"exact", " a a/b", "a/b/c ab b"},
		{"wild", " a a/b a/bc a/bc/d", "a/c ab b"},
		{"reads", "-", " a b"},
		{"root", " a b", "-"},
		{"stranger", "-", " a"},
	} {
		for want, folders := range map[bool]string{true: tc.folders, false: tc.none} {
			for folder := range strings.SplitSeq(folders, " ") {
				if folder != "-" && p.MayCreateBelow(acl.Principal{UID: tc.uid}, mustFolder(t, folder)) != want {
					t.Errorf("%s below %q: want %t", tc.uid, folder, want)
				}
			}
		}
	}
	var none *acl.Policy
	if p.MayCreateBelow(bound(t, "root", "/a"), mustFolder(t, "a")) || p.MayCreateBelow(acl.Principal{}, mustFolder(t, "a")) || none.MayCreateBelow(acl.Principal{UID: "root"}, mustFolder(t, "")) {
		t.Error("somebody without any right may create secrets")
	}
}

func TestPolicyNamesWhomItSpeaksOf(t *testing.T) {
	p := mustPolicy(t, documentedPolicy).WithSuperusers("root")
	for uid, want := range map[string]bool{"alice": true, "carol": true, "root": true, "ops": false, "eve": false, "": false} {
		if p.Names(uid) != want {
			t.Errorf("%q: %t", uid, !want)
		}
	}
	var none *acl.Policy
	if none.Names("alice") {
		t.Error("no policy names alice")
	}
}
