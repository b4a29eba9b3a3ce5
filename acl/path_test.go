package acl_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secretstore/acl"
)

// genComponent draws valid components, the awkward ones often.
func genComponent() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"a", "b", "ab", "group", "group2", "hdfs", "...", ".a", "a.", "-", "_", "A"}),
		rapid.StringMatching(`[A-Za-z0-9._-]{1,12}`),
	).Filter(func(s string) bool { return s != "." && s != ".." })
}

func genNames(most int) *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOfN(genComponent(), 1, most), func(c []string) string { return strings.Join(c, "/") })
}

func mustPath(t rapid.TB, s string) acl.Path {
	t.Helper()
	p, err := acl.ParsePath(s)
	if err != nil {
		t.Fatalf("ParsePath(%q): %v", s, err)
	}
	return p
}

func TestParsePathForms(t *testing.T) {
	long := strings.Repeat("x", acl.MaxComponentBytes)
	deep := strings.TrimSuffix(strings.Repeat("d/", acl.MaxComponents), "/")
	full := strings.TrimSuffix(strings.Repeat(strings.Repeat("x", 204)+"/", 5), "/") // MaxPathBytes
	for _, tc := range []struct{ in, want string }{
		{"a", "a"},
		{"/a/b", "a/b"},
		{"a/b/", "a/b"},
		{"//a///b//", "a/b"},
		{"a%2Fb", "a/b"},
		{"a%2fb", "a/b"},
		{"%2F%2Fa%2F/b", "a/b"},
		{"%61%2e%2D", "a.-"},
		{"A.b_C-9", "A.b_C-9"},
		{"__dcos_base64___keytab", "__dcos_base64___keytab"},
		{"a/...", "a/..."},
		{long, long},
		{deep, deep},
		{full, full},
	} {
		p, err := acl.ParsePath(tc.in)
		if err != nil || p.String() != tc.want {
			t.Errorf("ParsePath(%q) = %q, %v; want %q", tc.in, p, err, tc.want)
		}
	}
	for _, in := range []string{
		"", "/", "//", "%2F", ".", "..", "a/..", "a/./b", "../a", "%2e%2e/a", "a/%2E", "a b", "a+b", "a%20b", "a%252Fb", "a%25b", "a%",
		"a%2", "a%2g", "%", "a*", "a:b", "a%3Ab", "a%00", "a\x00", "é", "%C3%A9", "a\\b", "a;b", "a?b", "a,b", "~a", "a@b", "a=b",
		long + "x", deep + "/d", full + "x",
	} {
		if p, err := acl.ParsePath(in); !errors.Is(err, acl.ErrInvalidPath) || !p.IsRoot() {
			t.Errorf("ParsePath(%q) = %q, %v; want ErrInvalidPath and no path", in, p, err)
		}
	}
}

func TestParseFolderAllowsTheRootOnly(t *testing.T) {
	for _, in := range []string{"", "/", "///", "%2F", "/%2f/"} {
		if p, err := acl.ParseFolder(in); err != nil || !p.IsRoot() || p != (acl.Path{}) {
			t.Errorf("ParseFolder(%q) = %q, %v; want the root", in, p, err)
		}
	}
	for _, in := range []string{".", "..", "%", "/%2E/", "a b"} {
		if _, err := acl.ParseFolder(in); !errors.Is(err, acl.ErrInvalidPath) {
			t.Errorf("ParseFolder(%q): %v; want ErrInvalidPath", in, err)
		}
	}
}

func TestPathParts(t *testing.T) {
	for _, tc := range []struct{ path, folder, name string }{
		{"a", "", "a"}, {"a/b", "a", "b"}, {"a/b/c", "a/b", "c"},
	} {
		p := mustPath(t, tc.path)
		if p.Folder().String() != tc.folder || p.Name() != tc.name {
			t.Errorf("%q: folder %q, name %q; want %q, %q", p, p.Folder(), p.Name(), tc.folder, tc.name)
		}
	}
	var root acl.Path
	if !root.Folder().IsRoot() || root.Name() != "" || root.String() != "" {
		t.Errorf("root: folder %q, name %q", root.Folder(), root.Name())
	}
}

// Any spelling of a path gives the same value, and rendering it parses back to
// it.
func TestEverySpellingOfAPathIsThatPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := genNames(8).Draw(t, "path")
		slash := rapid.SampledFrom([]string{"/", "//", "%2F", "%2f", "/%2F"})
		var b strings.Builder
		if rapid.Bool().Draw(t, "leading") {
			b.WriteString(slash.Draw(t, "slash"))
		}
		for _, c := range []byte(plain) {
			switch {
			case c == '/':
				b.WriteString(slash.Draw(t, "slash"))
			case rapid.IntRange(0, 9).Draw(t, "escape") == 0:
				b.WriteString("%" + string("0123456789ABCDEF"[c>>4]) + string("0123456789abcdef"[c&15]))
			default:
				b.WriteByte(c)
			}
		}
		if rapid.Bool().Draw(t, "trailing") {
			b.WriteString(slash.Draw(t, "slash"))
		}
		p := mustPath(t, b.String())
		if p.String() != plain {
			t.Fatalf("ParsePath(%q) = %q; want %q", b.String(), p, plain)
		}
		if mustPath(t, p.String()) != p || mustPath(t, "/"+p.String()) != p {
			t.Fatalf("%q does not parse back to itself", p)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"", "/", "a/b", "a%2Fb", "a%252Fb", "..", "%2e%2e", "a//b/", "%", "a*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := acl.ParseFolder(s)
		if err != nil {
			if p != (acl.Path{}) || !errors.Is(err, acl.ErrInvalidPath) {
				t.Fatalf("a refused path gave %q, %v", p, err)
			}
			return
		}
		again, err := acl.ParseFolder(p.String())
		if err != nil || again != p {
			t.Fatalf("%q renders as %q, which parses as %q, %v", s, p, again, err)
		}
		// The rules said independently: the decoded name without its empty
		// components.
		plain, err := url.PathUnescape(s)
		if err != nil {
			t.Fatalf("%q was accepted with a malformed escape", s)
		}
		var want []string
		for _, c := range strings.Split(plain, "/") {
			if c != "" {
				want = append(want, c)
			}
		}
		if got := p.String(); got != strings.Join(want, "/") {
			t.Fatalf("%q gave %q; want %q", s, got, want)
		}
		for _, c := range want {
			if c == "." || c == ".." || len(c) > acl.MaxComponentBytes || strings.ContainsAny(c, "*:% \\\x00") {
				t.Fatalf("%q was accepted with component %q", s, c)
			}
		}
		if len(want) > acl.MaxComponents || len(p.String()) > acl.MaxPathBytes {
			t.Fatalf("%q is over the limits", s)
		}
		if _, err := acl.ParsePath(s); (err == nil) == p.IsRoot() {
			t.Fatalf("ParsePath(%q) = %v, root %v", s, err, p.IsRoot())
		}
	})
}
