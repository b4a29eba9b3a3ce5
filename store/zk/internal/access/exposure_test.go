package access

import (
	"slices"
	"strings"
	"testing"

	zkc "github.com/go-zookeeper/zk"
)

func TestExposureOfAZnode(t *testing.T) {
	world := func(perms int32) []zkc.ACL { return zkc.WorldACL(perms) }
	ours := []zkc.ACL{{Perms: zkc.PermAll, Scheme: "digest", ID: "user:hash"}}
	const r, w, c, d, a = zkc.PermRead, zkc.PermWrite, zkc.PermCreate, zkc.PermDelete, zkc.PermAdmin
	at := func(acls ...[]zkc.ACL) []Level {
		out := []Level{{Path: "/a/b"}, {Path: "/a"}, {Path: "/"}}
		for i, acl := range acls {
			out[i].ACL = acl
		}
		return out
	}
	for _, tt := range []struct {
		name               string
		levels             []Level
		writable, readable string // part of the text; "" if it is not
	}{
		{"closed", at(ours, ours, ours), "", ""},
		{"read by all", at(slices.Concat(ours, world(r)), ours, ours), "", "/a/b lets others read"},
		{"written by all", at(world(w), ours, ours), "/a/b lets others change it", ""},
		{"administered by all", at(world(a), ours, ours), "/a/b lets others change it", "/a/b lets others read"},
		{"everything to all", at(world(zkc.PermAll), world(zkc.PermAll), world(zkc.PermAll)), "/a/b lets others change it", "lets others read"},
		{"an address is not proved", at([]zkc.ACL{{Perms: w, Scheme: "ip", ID: "127.0.0.1"}}, ours, ours), "/a/b lets others change it", ""},
		{"a scheme that is not known", at([]zkc.ACL{{Perms: r, Scheme: "new", ID: "x"}}, ours, ours), "", "lets others read"},
		{"another proved identity", at([]zkc.ACL{{Perms: zkc.PermAll, Scheme: "sasl", ID: "iam"}}, ours, ours), "", ""},
		{"replaced in its parent", at(ours, world(c|d), ours), "/a lets others delete and create", ""},
		{"by two entries", at(ours, slices.Concat(world(c), []zkc.ACL{{Perms: d, Scheme: "ip", ID: "10.0.0.0/8"}}), ours), "/a lets others delete and create", ""},
		{"created beside it only", at(ours, world(c|r), world(c|r)), "", ""},
		{"deleted only", at(ours, world(d), ours), "", ""},
		{"deleted, and its parent replaced", at(ours, world(d), world(c|d)), "/ lets others delete and create", ""},
		{"its parent replaced, but not while it is there", at(ours, ours, world(c|d)), "", ""},
		{"the ACL of its parent", at(ours, world(a), ours), "/a lets others change that ACL", ""},
		{"its ACL is not known", []Level{{Path: "/a/b", Closed: true}, {Path: "/a", ACL: ours}}, "/a/b cannot be read", ""},
		{"its parent's ACL is not known", []Level{{Path: "/a/b", ACL: ours}, {Path: "/a", Closed: true}}, "/a cannot be read", ""},
		{"missing", []Level{{Path: "/a/b", Missing: true}, {Path: "/a", ACL: ours}}, "", ""},
		{"missing, and created by all", []Level{{Path: "/a/b", Missing: true}, {Path: "/a", ACL: world(c)}}, "/a lets others create it", ""},
		{"missing with its parent", []Level{{Path: "/a/b", Missing: true}, {Path: "/a", Missing: true}, {Path: "/", ACL: world(c)}}, "/ lets others create it", ""},
		{"missing, in an empty znode that others can replace",
			[]Level{{Path: "/a/b", Missing: true}, {Path: "/a", ACL: ours, Empty: true}, {Path: "/", ACL: world(c | d)}}, "/ lets others delete and create", ""},
		{"missing, in a znode that others can empty and replace",
			[]Level{{Path: "/a/b", Missing: true}, {Path: "/a", ACL: world(d)}, {Path: "/", ACL: world(c | d)}}, "/ lets others delete and create", ""},
		{"missing, in a znode that is not empty",
			[]Level{{Path: "/a/b", Missing: true}, {Path: "/a", ACL: ours}, {Path: "/", ACL: world(c | d)}}, "", ""},
		{"nothing", nil, "nothing is known", ""},
	} {
		got := Expose(tt.levels)
		if (got.Writable == "") != (tt.writable == "") || !strings.Contains(got.Writable, tt.writable) {
			t.Errorf("%s: writable %q, want %q", tt.name, got.Writable, tt.writable)
		}
		if (got.Readable == "") != (tt.readable == "") || !strings.Contains(got.Readable, tt.readable) {
			t.Errorf("%s: readable %q, want %q", tt.name, got.Readable, tt.readable)
		}
	}
}
