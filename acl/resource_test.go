package acl_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secretstore/acl"
)

func mustPattern(t rapid.TB, s string) acl.Pattern {
	t.Helper()
	p, err := acl.ParsePattern(s)
	if err != nil {
		t.Fatalf("ParsePattern(%q): %v", s, err)
	}
	return p
}

func secret(t rapid.TB, s string) acl.Resource { return acl.SecretResource(mustPath(t, s)) }

func list(t rapid.TB, s string) acl.Resource {
	p, err := acl.ParseFolder(s)
	if err != nil {
		t.Fatal(err)
	}
	return acl.ListResource(p)
}

func resolve(t rapid.TB, s string) acl.Resource { return acl.ResolveResource(mustService(t, s)) }

func TestResourceIDs(t *testing.T) {
	for _, tc := range []struct {
		r    acl.Resource
		want string
	}{
		{secret(t, "a/b"), "dcos:secrets:default:/a/b"},
		{list(t, ""), "dcos:secrets:list:default:/"},
		{list(t, "a"), "dcos:secrets:list:default:/a"},
		{resolve(t, "/g/app"), "dcos:secrets:resolve:default:/g/app"},
		{resolve(t, "/"), "dcos:secrets:resolve:default:/"},
		{acl.SuperuserResource(), "dcos:superuser"},
		{acl.MetadataResource(), "dcos:adminrouter:ops:metadata"},
		{acl.PolicyQueryResource(), "dcos:iam:policyquery"},
		{acl.SecretResource(acl.Path{}), ""},
		{acl.Resource{}, ""},
	} {
		if got := tc.r.String(); got != tc.want {
			t.Errorf("%q; want %q", got, tc.want)
		}
	}
}

// The forms of ids that are in use, in clients, their tests and documentation.
func TestPatternForms(t *testing.T) {
	for _, tc := range []struct {
		id        string
		canonical string
		yes, no   []acl.Resource
	}{
		{"dcos:secrets:default:/svc/*", "dcos:secrets:default:/svc/*",
			[]acl.Resource{secret(t, "svc/a"), secret(t, "svc/a/b")},
			[]acl.Resource{secret(t, "svc"), secret(t, "svc2/a"), list(t, "svc/a"), resolve(t, "svc/a")}},
		{"dcos:secrets:default:svc/*", "dcos:secrets:default:/svc/*", []acl.Resource{secret(t, "svc/a")}, []acl.Resource{secret(t, "svc")}},
		{"dcos:secrets:default:svc", "dcos:secrets:default:/svc",
			[]acl.Resource{secret(t, "svc")}, []acl.Resource{secret(t, "svc/a"), secret(t, "svc2"), secret(t, "sv"), list(t, "svc")}},
		{"dcos:secrets:default:/developer/my-secret", "dcos:secrets:default:/developer/my-secret",
			[]acl.Resource{secret(t, "developer/my-secret")}, []acl.Resource{secret(t, "developer"), secret(t, "Developer/my-secret")}},
		{"dcos:secrets:default:%252Fsvc%252fkey", "dcos:secrets:default:/svc/key", []acl.Resource{secret(t, "svc/key")}, []acl.Resource{secret(t, "svc")}},
		{"dcos:secrets:default:%2Fsvc%2fkey", "dcos:secrets:default:/svc/key", []acl.Resource{secret(t, "svc/key")}, []acl.Resource{secret(t, "key")}},
		{"dcos:secrets:default:%252F*", "dcos:secrets:default:/*", []acl.Resource{secret(t, "a"), secret(t, "a/b")}, []acl.Resource{list(t, "a"), acl.SuperuserResource()}},
		{"dcos:secrets:default:/*", "dcos:secrets:default:/*", []acl.Resource{secret(t, "a"), secret(t, "a/b")}, []acl.Resource{list(t, ""), resolve(t, "/a")}},
		{"dcos:secrets:default:*", "dcos:secrets:default:/*", []acl.Resource{secret(t, "a")}, []acl.Resource{list(t, "")}},
		{"dcos:secrets:default:/svc*", "dcos:secrets:default:/svc*", []acl.Resource{secret(t, "svc"), secret(t, "svc2"), secret(t, "svc/x/y")}, []acl.Resource{secret(t, "sv")}},
		{"dcos:secrets:default:/a/.*", "dcos:secrets:default:/a/.*", []acl.Resource{secret(t, "a/.env")}, []acl.Resource{secret(t, "a/env")}},
		{"dcos:secrets:list:default:/svc", "dcos:secrets:list:default:/svc", []acl.Resource{list(t, "svc")}, []acl.Resource{list(t, ""), list(t, "svc/a"), secret(t, "svc")}},
		{"dcos:secrets:list:default:/", "dcos:secrets:list:default:/", []acl.Resource{list(t, "")}, []acl.Resource{list(t, "svc"), secret(t, "svc")}},
		{"dcos:secrets:list:default:", "dcos:secrets:list:default:/", []acl.Resource{list(t, "")}, []acl.Resource{list(t, "svc")}},
		{"dcos:secrets:list:default:/svc/*", "dcos:secrets:list:default:/svc/*", []acl.Resource{list(t, "svc/a")}, []acl.Resource{list(t, "svc"), list(t, "")}},
		{"dcos:secrets:list:default:/*", "dcos:secrets:list:default:/*", []acl.Resource{list(t, ""), list(t, "svc")}, []acl.Resource{secret(t, "svc")}},
		{"dcos:secrets:resolve:default:/*", "dcos:secrets:resolve:default:/*", []acl.Resource{resolve(t, "/"), resolve(t, "/a/b")}, []acl.Resource{secret(t, "a"), list(t, "")}},
		{"dcos:secrets:resolve:default:/group/app", "dcos:secrets:resolve:default:/group/app", []acl.Resource{resolve(t, "group.app")}, []acl.Resource{resolve(t, "/group/app/x")}},
		{"dcos:superuser", "dcos:superuser", []acl.Resource{acl.SuperuserResource()}, []acl.Resource{secret(t, "a"), {}}},
		{"dcos:adminrouter:ops:metadata", "dcos:adminrouter:ops:metadata", []acl.Resource{acl.MetadataResource()}, []acl.Resource{acl.SuperuserResource(), secret(t, "a"), {}}},
		{"dcos:*", "dcos:secrets:*", []acl.Resource{secret(t, "a"), list(t, ""), resolve(t, "/")}, []acl.Resource{acl.SuperuserResource(), acl.MetadataResource(), {}}},
		{"*", "dcos:secrets:*", []acl.Resource{secret(t, "a")}, []acl.Resource{acl.SuperuserResource()}},
		{"dcos:s*", "dcos:secrets:*", []acl.Resource{secret(t, "a")}, []acl.Resource{acl.SuperuserResource()}},
		{"dcos:secrets:list:*", "dcos:secrets:list:default:/*", []acl.Resource{list(t, "a")}, []acl.Resource{secret(t, "a")}},
	} {
		p := mustPattern(t, tc.id)
		if p.String() != tc.canonical {
			t.Errorf("%q is %q; want %q", tc.id, p, tc.canonical)
		}
		for _, r := range tc.yes {
			if !p.Matches(r) {
				t.Errorf("%q does not match %q", tc.id, r)
			}
		}
		for _, r := range tc.no {
			if p.Matches(r) {
				t.Errorf("%q matches %q", tc.id, r)
			}
		}
	}
}

func TestPatternsThatAreRefused(t *testing.T) {
	for _, id := range []string{
		"", "dcos", "dcos:secrets", "dcos:secrets:default", "dcos:secret:default:/a", "DCOS:secrets:default:/a", "dcos:secrets:other:/a",
		"dcos:secrets:default:", "dcos:secrets:default:/", "dcos:secrets:default://a", "dcos:secrets:default:/a/", "dcos:secrets:default:/a//b",
		"dcos:secrets:default:/a/**", "dcos:secrets:default:/*/a", "dcos:secrets:default:/a*b", "dcos:secrets:default:/../a", "dcos:secrets:default:/a/../*",
		"dcos:secrets:default:/a/./*", "dcos:secrets:default://*", "dcos:secrets:default:/a b", "dcos:secrets:default:/a:b", "dcos:secrets:default:/a%",
		"dcos:secrets:default:%25252Fa", "dcos:secrets:default:/a%2A", "dcos:secrets:default:/é", " dcos:secrets:default:/a",
		"dcos:superuser*", "dcos:super*", "dcos:superuser:", "dcos:superuser/", "dcos:adminrouter:secrets", "dcos:adminrouter:*",
		"dcos:adminrouter:ops:*", "dcos:adminrouter:ops:metadata*", "dcos:adminrouter:ops:metadata/", "dcos:adminrouter:ops:metadata:/",
		"dcos:secrets:default:/" + strings.Repeat("x", 256), "dcos:secrets:default:" + strings.Repeat("/d", 33), strings.Repeat("%252F", 9999),
	} {
		if p, err := acl.ParsePattern(id); !errors.Is(err, acl.ErrInvalidResource) || p != (acl.Pattern{}) {
			t.Errorf("ParsePattern(%q) = %q, %v; want ErrInvalidResource", id, p, err)
		}
	}
}

// A grant for one path never covers another, whatever names users choose, and a
// wildcard covers exactly what starts as it does.
func TestNamesNeverWidenAGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		granted := genNames(3).Draw(t, "granted")
		asked := genNames(4).Draw(t, "asked")
		if rapid.Bool().Draw(t, "near") {
			asked = granted + rapid.SampledFrom([]string{"", "/", "2", ".", "-"}).Draw(t, "sep") + genComponent().Draw(t, "more")
		}
		r := secret(t, asked)
		if got := mustPattern(t, "dcos:secrets:default:/"+granted).Matches(r); got != (granted == asked) {
			t.Fatalf("exact grant on %q, asked %q: %v", granted, asked, got)
		}
		below := mustPattern(t, "dcos:secrets:default:/"+granted+"/*")
		if got := below.Matches(r); got != strings.HasPrefix(asked, granted+"/") {
			t.Fatalf("grant on all below %q, asked %q: %v", granted, asked, got)
		}
		if below.Matches(acl.ListResource(mustPath(t, asked))) || below.Matches(acl.SuperuserResource()) {
			t.Fatalf("a grant on secrets reaches another kind of resource")
		}
	})
}

func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"dcos:superuser", "dcos:secrets:default:%252F*", "dcos:secrets:list:default:/", "dcos:*", "*", "dcos:secrets:default:/a/../*"} {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, id, path string) {
		p, err := acl.ParsePattern(id)
		if err != nil {
			if p != (acl.Pattern{}) || !errors.Is(err, acl.ErrInvalidResource) {
				t.Fatalf("a refused id gave %q, %v", p, err)
			}
			return
		}
		if again, err := acl.ParsePattern(p.String()); err != nil || again != p {
			t.Fatalf("%q renders as %q, which parses as %q, %v", id, p, again, err)
		}
		if p.Matches(acl.SuperuserResource()) != (id == "dcos:superuser") {
			t.Fatalf("%q and dcos:superuser: %v", id, p.Matches(acl.SuperuserResource()))
		}
		secret, err := acl.ParsePath(path)
		if err != nil {
			return
		}
		// The rule again, over the texts of the canonical ids.
		prefix, wild := strings.CutSuffix(p.String(), "*")
		for _, r := range []acl.Resource{acl.SecretResource(secret), acl.ListResource(secret)} {
			want := r.String() == prefix || wild && strings.HasPrefix(r.String(), prefix)
			if p.Matches(r) != want {
				t.Fatalf("%q (%q) and %q: %v; want %v", id, p, r, p.Matches(r), want)
			}
		}
	})
}

// TestCoveringGrantAllowsAllThatTheOtherDoes compares with what single resources match.
func TestCoveringGrantAllowsAllThatTheOtherDoes(t *testing.T) {
	matches := func(p acl.Pattern, folder string) bool { // also the parents of a folder
		for {
			if p.Matches(list(t, folder)) {
				return true
			}
			if folder == "" {
				return false
			}
			folder = folder[:max(0, strings.LastIndexByte(folder, '/'))]
		}
	}
	patterns := rapid.Custom(func(t *rapid.T) acl.Pattern {
		id := rapid.SampledFrom([]string{"dcos:secrets:default:", "dcos:secrets:list:default:", "dcos:secrets:resolve:default:"}).Draw(t, "kind") +
			rapid.StringMatching(`/((a|b|ab)(/a|/b|/ab)?(/?\*)?|\*)`).Draw(t, "rest")
		if rapid.Bool().Draw(t, "other") {
			id = rapid.SampledFrom([]string{"dcos:secrets:*", "dcos:secrets:list:*", "dcos:*", "dcos:superuser", "dcos:iam:policyquery", "dcos:secrets:list:default:/", "dcos:secrets:resolve:default:/"}).Draw(t, "id")
		}
		p, err := acl.ParsePattern(id)
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		p, q := patterns.Draw(t, "p"), patterns.Draw(t, "q")
		path := rapid.StringMatching(`(a|b|ab)(/a|/b|/ab)?(/a|/b|/ab)?`).Draw(t, "path")
		covers := p.Covers(q)
		switch {
		case !covers:
		case q.Matches(secret(t, path)) && !p.Matches(secret(t, path)), q.Matches(resolve(t, "/"+path)) && !p.Matches(resolve(t, "/"+path)), matches(q, path) && !matches(p, path):
			t.Fatalf("%s does not cover %s: %s", p, q, path)
		}
	})
	for _, row := range []struct {
		p, q string
		want bool
	}{
		{"dcos:secrets:default:/a*", "dcos:secrets:default:/ab", true},
		{"dcos:secrets:default:/a/*", "dcos:secrets:default:/a", false},
		{"dcos:secrets:*", "dcos:secrets:list:default:/a", true},
		{"dcos:secrets:*", "dcos:superuser", false},
		{"dcos:secrets:list:default:/a", "dcos:secrets:list:default:/a/b", true},
		{"dcos:secrets:list:default:/a", "dcos:secrets:list:default:/a/*", true},
		{"dcos:secrets:list:default:/a", "dcos:secrets:list:default:/a*", false},
		{"dcos:secrets:list:default:/", "dcos:secrets:list:default:/*", true},
		{"dcos:secrets:default:/a", "dcos:secrets:default:/a/b", false},
	} {
		if got := mustPattern(t, row.p).Covers(mustPattern(t, row.q)); got != row.want {
			t.Errorf("%s covers %s: %v", row.p, row.q, got)
		}
	}
}
