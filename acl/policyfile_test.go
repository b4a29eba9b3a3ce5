package acl_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"secretstore/acl"
)

func mustPolicy(t testing.TB, text string) *acl.Policy {
	t.Helper()
	p, err := acl.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatalf("policy: %v", err)
	}
	return p
}

const documentedPolicy = `
# policy file
users:
  dcos_marathon: {"dcos:secrets:resolve:default:/*": [read]}     # only on behalf of a service
  alice: {"dcos:secrets:default:/dev/*": [full], "dcos:secrets:list:default:/dev": [read]}
groups:
  ops: {members: [carol], grants: {"dcos:superuser": [full]}}
`

func TestTheDocumentedPolicyIsAccepted(t *testing.T) {
	p := mustPolicy(t, documentedPolicy)
	administer := acl.Request{Op: acl.Administer}
	if !p.Decide(acl.Principal{UID: "carol"}, administer).Allowed || p.Decide(acl.Principal{UID: "alice"}, administer).Allowed {
		t.Error("carol is to be the superuser, alice not")
	}
	read := acl.Request{Op: acl.ReadSecret, Path: mustPath(t, "dev/x/y")}
	if !p.Decide(acl.Principal{UID: "alice"}, read).Allowed || p.Decide(acl.Principal{UID: "dcos_marathon"}, read).Allowed {
		t.Error("alice is to read dev/x/y, dcos_marathon not without a service")
	}
}

func TestPoliciesThatGrantNothingAreAccepted(t *testing.T) {
	for _, text := range []string{"{}", "users: {}", "groups: {}", "users: {alice: {}}", "groups: {ops: {}}", "groups: {ops: {members: []}}", "# c\nusers: {}\n"} {
		mustPolicy(t, text)
	}
}

// Each mistake is found, and with its line.
func TestPolicyMistakes(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		line       int
		words      string
	}{
		{"empty", "", 0, "empty"},
		{"only a comment", "# nothing", 0, "empty"},
		{"null", "null", 1, "must be a mapping"},
		{"list", "[]", 1, "must be a mapping"},
		{"alias of grants", "users:\n  alice: &dev {dcos:superuser: [read]}\n  bob: *dev", 3, "aliases (*dev) are not read"},
		{"alias of a name", "users:\n  alice: &dev {}\n  *dev : {}", 3, "aliases (*dev) are not read"},
		{"alias of an action", "users:\n  alice: {dcos:superuser: [&r read]}\n  bob: {dcos:superuser: [*r]}", 3, "aliases (*r) are not read"},
		{"merge key", "users:\n  alice: &dev {}\n  bob:\n    <<: *dev", 4, "aliases (*dev) are not read"},
		{"syntax", "users: {", 0, "line 1"},
		{"unknown key", "users: {}\nuser: {}", 2, `unknown key "user"`},
		{"key in another case", "Users: {}", 1, `unknown key "Users"`},
		{"repeated key", "users: {}\nusers: {}", 2, "already on line 1"},
		{"repeated user", "users:\n  a: {}\n  a: {}", 3, "already on line 2"},
		{"repeated resource", "users:\n  a:\n    dcos:superuser: [full]\n    dcos:superuser: [full]", 4, "already on line 3"},
		{"users null", "users:", 1, "must be a mapping"},
		{"grants null", "users:\n  alice:", 2, "must be a mapping"},
		{"actions not a list", "users:\n  a: {dcos:superuser: full}", 2, "must be a list"},
		{"actions null", "users:\n  a: {dcos:superuser: }", 2, "must be a list"},
		{"no action", "users:\n  a: {dcos:superuser: []}", 2, "at least one action"},
		{"unknown action", "users:\n  a: {dcos:superuser: [Read]}", 2, "unknown action"},
		{"null action", "users:\n  a: {dcos:superuser: [null]}", 2, "plain strings"},
		{"nested action", "users:\n  a: {dcos:superuser: [[read]]}", 2, "plain strings"},
		{"action twice", "users:\n  a: {dcos:superuser: [read, read]}", 2, "twice"},
		{"unknown resource", "users:\n  a:\n    dcos:secret:default:/x: [read]", 3, "invalid resource id"},
		{"wildcard for superuser", "users: {a: {\"dcos:superuser*\": [full]}}", 1, "exactly that name"},
		{"empty uid", "users: {\"\": {}}", 1, "not a valid user id"},
		{"uid with a control character", `users: {"a\nb": {}}`, 1, "not a valid user id"},
		{"uid outside ASCII", "users: {ålice: {}}", 1, "not a valid user id"},
		{"null uid", "users: {~: {}}", 1, "plain string"},
		{"group without mapping", "groups:\n  ops: [a]", 2, "must be a mapping"},
		{"unknown key in a group", "groups:\n  ops: {member: [a]}", 2, `unknown key "member"`},
		{"members not a list", "groups:\n  ops: {members: a}", 2, "must be a list"},
		{"member twice", "groups:\n  ops: {members: [a, a]}", 2, "twice"},
		{"bad member", "groups:\n  ops: {members: [\"\"]}", 2, "not a valid user id"},
		{"bad grants of a group", "groups:\n  ops: {grants: {x: [read]}}", 2, "invalid resource id"},
		{"alias", "users:\n  a: &g {dcos:superuser: [full]}\n  b: *g", 3, "aliases (*g) are not read"},
		{"merge key", "users:\n  a: {<<: {dcos:superuser: [full]}}", 2, "plain string"},
		{"two documents", "users: {}\n---\nusers: {}", 0, "more than one"},
		{"too large", "users: {} #" + strings.Repeat("x", acl.MaxPolicyBytes), 0, "larger than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := acl.ParsePolicy([]byte(tc.text))
			var pe *acl.PolicyError
			if p != nil || !errors.Is(err, acl.ErrInvalidPolicy) || !errors.As(err, &pe) {
				t.Fatalf("got %v, %v; want no policy and ErrInvalidPolicy", p, err)
			}
			for _, problem := range pe.Problems {
				if problem.Line == tc.line && strings.Contains(problem.Text, tc.words) {
					return
				}
			}
			t.Errorf("no problem on line %d says %q: %v", tc.line, tc.words, err)
		})
	}
}

func TestAllProblemsOfAPolicyAreReportedAtOnce(t *testing.T) {
	_, err := acl.ParsePolicy([]byte(`groups:
  ops: {members: [carol], grants: {dcos:superuser: [admin]}}
typo: 1
users:
  "a	b": {"dcos:secrets:default:/x": [write]}
  bob: {"dcos:secrets:default:/../x": [read]}
`))
	var pe *acl.PolicyError
	if !errors.As(err, &pe) {
		t.Fatal(err)
	}
	var lines []int
	for _, p := range pe.Problems {
		lines = append(lines, p.Line)
	}
	if got := fmt.Sprint(lines); got != "[2 3 5 5 6]" {
		t.Errorf("problems on lines %s; want [2 3 5 5 6]: %v", got, err)
	}
	for _, line := range []string{"line 2: ", "line 3: ", "line 5: ", "line 6: "} {
		if !strings.Contains(err.Error(), line) {
			t.Errorf("the text does not name %q: %v", line, err)
		}
	}
}

func TestAPolicyErrorStaysReadable(t *testing.T) {
	var b strings.Builder
	b.WriteString("users:\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "  u%d: {%s: [x]}\n", i, strings.Repeat("y", 150))
	}
	_, err := acl.ParsePolicy([]byte(b.String()))
	if err == nil || len(err.Error()) > 32<<10 || !strings.Contains(err.Error(), "more") {
		t.Errorf("%d bytes of error", len(err.Error()))
	}
}

func TestGroupsAndUsersAddUp(t *testing.T) {
	p := mustPolicy(t, `
groups:
  a: {members: [u], grants: {"dcos:secrets:default:/x": [read]}}
  b: {members: [u, v], grants: {"dcos:secrets:default:x": [update], "dcos:secrets:default:/y*": [delete]}}
users:
  u: {"dcos:secrets:default:%2Fx": [create]}
`)
	x := mustPath(t, "x")
	for _, tc := range []struct {
		uid  string
		op   acl.Op
		want bool
	}{
		{"u", acl.ReadSecret, true}, {"u", acl.UpdateSecret, true}, {"u", acl.CreateSecret, true}, {"u", acl.DeleteSecret, false},
		{"v", acl.ReadSecret, false}, {"v", acl.UpdateSecret, true}, {"w", acl.UpdateSecret, false}, {"a", acl.ReadSecret, false},
	} {
		if got := p.Decide(acl.Principal{UID: tc.uid}, acl.Request{Op: tc.op, Path: x}); got.Allowed != tc.want {
			t.Errorf("%s, op %d: %+v; want %v", tc.uid, tc.op, got, tc.want)
		}
	}
}

// Two spellings of one resource are one grant with the actions of both.
func TestSpellingsOfOneResourceAddUp(t *testing.T) {
	p := mustPolicy(t, `users: {u: {"dcos:secrets:default:a": [read], "dcos:secrets:default:/a": [update]}}`)
	for _, op := range []acl.Op{acl.ReadSecret, acl.UpdateSecret} {
		if d := p.Decide(acl.Principal{UID: "u"}, acl.Request{Op: op, Path: mustPath(t, "a")}); !d.Allowed {
			t.Errorf("op %d: %+v", op, d)
		}
	}
}

// Members times grants must not multiply: this file would make 10^7 grants.
func TestGroupsShareTheirGrants(t *testing.T) {
	var b strings.Builder
	b.WriteString("groups:\n  g:\n    members: [")
	for i := range 10_000 {
		fmt.Fprintf(&b, "u%d,", i)
	}
	b.WriteString("]\n    grants: {")
	for i := range 1000 {
		fmt.Fprintf(&b, "\"dcos:secrets:default:/s%d\": [read],", i)
	}
	b.WriteString("}\n")
	text := []byte(b.String())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	mustPolicy(t, string(text))
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
		t.Errorf("a policy of %d bytes takes %d bytes", len(text), got)
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"", documentedPolicy, "users: {a: {dcos:superuser: [full]}}", "users:\n  a: &g {}\n  b: *g", "[[[", "a: !!binary x", "? {}\n: 1", "users: {a: {\"*\": [read]}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := acl.ParsePolicy(data)
		if (p == nil) == (err == nil) {
			t.Fatalf("got both or neither: %v, %v", p, err)
		}
		if err != nil {
			var pe *acl.PolicyError
			if !errors.As(err, &pe) || len(pe.Problems) == 0 {
				t.Fatalf("not a list of problems: %v", err)
			}
			return
		}
		// Users that are not in the file have no grants.
		if d := p.Decide(acl.Principal{UID: "nobody-in-the-file-7c1f"}, acl.Request{Op: acl.Administer}); d.Allowed {
			t.Fatalf("a stranger is superuser under %q", data)
		}
		// No file can make a superuser without naming the resource.
		if d := p.Decide(acl.Principal{UID: "a"}, acl.Request{Op: acl.Administer}); d.Allowed && !strings.Contains(string(data), "superuser") && !strings.Contains(string(data), `\`) {
			t.Fatalf("a is superuser under %q", data)
		}
	})
}
