package acl_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secretstore/acl"
)

func mustService(t rapid.TB, s string) acl.Service {
	t.Helper()
	svc, err := acl.ParseService(s)
	if err != nil {
		t.Fatalf("ParseService(%q): %v", s, err)
	}
	return svc
}

func TestParseServiceForms(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"/group/hdfs/service", "/group/hdfs/service"},
		{"group/hdfs/service", "/group/hdfs/service"},
		{"prod.db.backup", "/prod/db/backup"}, // Metronome
		{"/prod/db/backup", "/prod/db/backup"},
		{"/a.b/c", "/a.b/c"}, // Marathon segments may hold dots
		{"a.b/c", "/a.b/c"},
		{"/a.b", "/a.b"},
		{"hdfs", "/hdfs"},
		{"/hdfs", "/hdfs"},
		{"/", "/"},
		{"", "/"},
	} {
		s, err := acl.ParseService(tc.in)
		if err != nil || s.String() != tc.want || s.IsRoot() != (tc.want == "/") {
			t.Errorf("ParseService(%q) = %q, %v; want %q", tc.in, s, err, tc.want)
		}
	}
	for _, in := range []string{
		"//", "//a", "/a/", "/a//b", "a/", ".", "..", "a..b", ".a", "a.", "/.", "/..", "/a/../b", "./a", "a/.", "/a b", "/a%2Fb", "/a*",
		"a:b", "/é", " /a", "/a ", "/a,/b", "/a\n", "/" + strings.Repeat("x", 256), strings.Repeat("/d", 33), strings.Repeat("/"+strings.Repeat("x", 200), 6),
	} {
		if s, err := acl.ParseService(in); !errors.Is(err, acl.ErrInvalidService) || !s.IsRoot() {
			t.Errorf("ParseService(%q) = %q, %v; want ErrInvalidService", in, s, err)
		}
	}
}

// The rows of the documentation of DC/OS, of its SDK, and of a later correction
// of it.
func TestSpaces(t *testing.T) {
	yes, no := true, false
	for _, tc := range []struct {
		secret, service string
		want            bool
	}{
		{"group/secret", "/marathon-user/service", no},
		{"group/secret", "/group/hdfs/service", yes},
		{"group/hdfs/secret", "/group/spark/service", no},
		{"hdfs/secret", "/hdfs", yes},
		{"hdfs/secret", "/hdfs2", no},
		{"secret", "/any", yes},
		{"secret", "/any/at/all", yes},
		{"secret", "/", yes},
		{"secret", "", yes},
		{"a/secret", "/", no},
		{"Secret_Path1", "/user", yes},
		{"Secret_Path1", "/dev1/user", yes},
		{"secret-svc/Secret_Path1", "/user", no},
		{"secret-svc/Secret_Path1", "/user/dev1", no},
		{"secret-svc/Secret_Path1", "/secret-svc", yes},
		{"secret-svc/Secret_Path1", "/secret-svc/dev1", yes},
		{"secret-svc/Secret_Path1", "/secret-svc/instance2/dev2", yes},
		{"secret-svc/Secret_Path1", "/secret-svc/a/b/c/dev3", yes},
		{"secret-svc/instance1/Secret_Path2", "/secret-svc", no},
		{"secret-svc/instance1/Secret_Path2", "/secret-svc/dev1", no},
		{"secret-svc/instance1/Secret_Path2", "/secret-svc/instance2/dev3", no},
		{"secret-svc/instance1/Secret_Path2", "/secret-svc/instance1", yes},
		{"secret-svc/instance1/Secret_Path2", "/secret-svc/instance1/dev3", yes},
		{"secret-svc/instance1/Secret_Path2", "/secret-svc/instance1/someDir/dev3", yes},
		{"prod/database-key", "/marathon-user/my-app", no},
		{"bi/s3-key", "/bi/hdfs/loader", yes},
		{"bi/hdfs/ec2-key", "/bi/spark/executor", no},
		{"hello-world/secret1", "hello-world", yes},
		{"hello-world/somePath/secret1", "hello-world", no},
		{"prod/db/secret", "prod.db.backup", yes},
		{"prod.db/secret", "prod.db.backup", no},
		{"group/secret", "/Group", no},
		{"group/secret", "/grou", no},
	} {
		if got := mustService(t, tc.service).MayRead(mustPath(t, tc.secret)); got != tc.want {
			t.Errorf("service %q reads %q: %v; want %v", tc.service, tc.secret, got, tc.want)
		}
	}
	if mustService(t, "/a").MayRead(acl.Path{}) {
		t.Error("a service may read the root")
	}
}

// The rule again, over lists of components.
func TestSpacesAreComponentWise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(genComponent(), 1, 4).Draw(t, "secret")
		service := rapid.SliceOfN(genComponent(), 1, 4).Draw(t, "service")
		if rapid.Bool().Draw(t, "related") {
			service = append(append([]string{}, secret[:len(secret)-1]...), service...)
		}
		space := secret[:len(secret)-1]
		want := len(space) <= len(service)
		for i := 0; want && i < len(space); i++ {
			want = space[i] == service[i]
		}
		s := mustService(t, "/"+strings.Join(service, "/"))
		if got := s.MayRead(mustPath(t, strings.Join(secret, "/"))); got != want {
			t.Fatalf("service %q, secret %q: %v; want %v", service, secret, got, want)
		}
	})
}

func FuzzParseService(f *testing.F) {
	for _, s := range []string{"", "/", "a.b", "/a.b", "/a/b", "a..b", "..", "/a/", "/a*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := acl.ParseService(in)
		if err != nil {
			if s != (acl.Service{}) || !errors.Is(err, acl.ErrInvalidService) {
				t.Fatalf("a refused id gave %q, %v", s, err)
			}
			return
		}
		again, err := acl.ParseService(s.String())
		if err != nil || again != s {
			t.Fatalf("%q renders as %q, which parses as %q, %v", in, s, again, err)
		}
		if strings.ContainsAny(s.String(), "*:%") {
			t.Fatalf("%q was accepted: it could be taken for a pattern", in)
		}
		if !s.IsRoot() {
			// The part after the slash is always a path too.
			if p, err := acl.ParsePath(s.String()); err != nil || "/"+p.String() != s.String() {
				t.Fatalf("%q is a service and as a path %q, %v", s, p, err)
			}
		}
	})
}
