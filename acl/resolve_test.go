package acl_test

import (
	"testing"

	"pgregory.net/rapid"

	"secretstore/acl"
)

const resolvePolicy = `
users:
  marathon: {"dcos:secrets:resolve:default:/*": [read]}
  full: {"dcos:secrets:resolve:default:/*": [full]}
  create: {"dcos:secrets:resolve:default:/*": [create, update, delete]}
  team: {"dcos:secrets:resolve:default:/group/*": [read]}
  app: {"dcos:secrets:resolve:default:/group/app": [read]}
  reader: {"dcos:secrets:default:/group/*": [read]}
  one: {"dcos:secrets:default:/group/a": [read]}
  writer: {"dcos:secrets:default:/group/*": [create, update, delete]}
  lister: {"dcos:secrets:list:default:/*": [read]}
  super: {"dcos:superuser": [full]}
`

func TestWhoMayResolve(t *testing.T) {
	p := mustPolicy(t, resolvePolicy)
	a, ab := []string{"group/a"}, []string{"group/a", "group/b"}
	const denied = acl.ReasonNoPermission
	for _, tc := range []struct {
		uid, service string
		paths        []string
		reason       string // of the refusal; "" if allowed
	}{
		{"marathon", "/group/app", ab, ""},
		{"marathon", "/", nil, ""},
		{"marathon", "/group/app", []string{"elsewhere/a"}, ""}, // the space is decided by secret
		{"full", "/group/app", ab, ""},
		{"create", "/group/app", ab, denied},
		{"team", "/group/app", ab, ""},
		{"team", "/group", ab, denied},
		{"team", "/group2/app", ab, denied},
		{"app", "/group/app", ab, ""},
		{"app", "group.app", ab, ""},
		{"app", "/group/app/x", ab, denied},
		{"app", "/group/ap", nil, ""}, // asks for nothing
		{"reader", "/group/app", ab, ""},
		{"reader", "/elsewhere", ab, ""}, // its space is decided by secret
		{"reader", "/group/app", []string{"group/a", "other/a"}, denied},
		{"one", "/group/app", a, ""},
		{"one", "/group/app", ab, denied},
		{"writer", "/group/app", a, denied},
		{"lister", "/group/app", a, denied},
		{"lister", "/group/app", nil, ""},
		{"super", "/group/app", ab, ""},
		{"stranger", "/group/app", ab, denied},
		{"stranger", "/group/app", nil, denied},
		{"", "/group/app", nil, acl.ReasonNobody},
	} {
		var paths []acl.Path
		for _, path := range tc.paths {
			paths = append(paths, mustPath(t, path))
		}
		d := p.DecideResolve(acl.Principal{UID: tc.uid}, mustService(t, tc.service), paths)
		if d.Allowed != (tc.reason == "") || !d.Allowed && d.Reason != tc.reason {
			t.Errorf("%s for %s of %v: %+v; want refusal %q", tc.uid, tc.service, tc.paths, d, tc.reason)
		}
		if want := "dcos:secrets:resolve:default:" + mustService(t, tc.service).String(); d.Resource != want || d.Action != "read" {
			t.Errorf("%s for %s: resource %q, action %q", tc.uid, tc.service, d.Resource, d.Action)
		}
	}
}

// Before the body is read it is known only whether the caller has permissions
// of any kind.
func TestResolvingWithoutAServiceIsForThoseWithGrants(t *testing.T) {
	p := mustPolicy(t, resolvePolicy).WithSuperusers("root")
	for _, uid := range []string{"marathon", "team", "one", "lister", "super", "root"} {
		if d := p.Decide(acl.Principal{UID: uid}, acl.Request{Op: acl.ResolveSecrets}); !d.Allowed || d.Resource != "" {
			t.Errorf("%s: %+v", uid, d)
		}
	}
	for _, who := range []acl.Principal{{}, {UID: "stranger"}, bound(t, "", "/a")} {
		if d := p.Decide(who, acl.Request{Op: acl.ResolveSecrets}); d.Allowed {
			t.Errorf("%+v: %+v", who, d)
		}
	}
	for _, p := range []*acl.Policy{nil, {}} {
		if p.Decide(acl.Principal{UID: "root"}, acl.Request{Op: acl.ResolveSecrets}).Allowed ||
			p.DecideResolve(acl.Principal{UID: "root"}, mustService(t, "/a"), nil).Allowed ||
			p.DecideResolve(bound(t, "root", "/a"), mustService(t, "/a"), nil).Allowed {
			t.Error("allowed without a policy")
		}
	}
}

// A token that is bound to a service resolves for that service alone, whatever
// its uid may do, and even for secrets that it may read.
func TestABoundTokenResolvesForItsOwnService(t *testing.T) {
	p := mustPolicy(t, resolvePolicy).WithSuperusers("root")
	for _, uid := range []string{"marathon", "super", "root", "reader", "stranger"} {
		who := bound(t, uid, "/group/app")
		if d := p.Decide(who, acl.Request{Op: acl.ResolveSecrets}); !d.Allowed {
			t.Errorf("%s: %+v", uid, d)
		}
		for _, service := range []string{"/group/app", "group.app"} {
			if d := p.DecideResolve(who, mustService(t, service), []acl.Path{mustPath(t, "other/a")}); !d.Allowed {
				t.Errorf("%s for its own service: %+v", uid, d)
			}
		}
		for _, service := range []string{"/group", "/group/app/x", "/group/app2", "/other", "/"} {
			for _, paths := range [][]acl.Path{nil, {mustPath(t, "shared")}, {mustPath(t, "group/a")}} {
				if d := p.DecideResolve(who, mustService(t, service), paths); d.Allowed {
					t.Errorf("%s bound to /group/app, for %s of %v: %+v", uid, service, paths, d)
				}
			}
		}
	}
}

// Leave to resolve is never more than leave to read each secret on behalf of
// the service, where its space holds them.
func TestResolvingGivesNoMoreThanReading(t *testing.T) {
	p := mustPolicy(t, resolvePolicy).WithSuperusers("root")
	rapid.Check(t, func(t *rapid.T) {
		who := acl.Principal{UID: rapid.SampledFrom([]string{"marathon", "full", "create", "team", "app", "reader", "one", "writer", "lister", "super", "root", "stranger"}).Draw(t, "uid")}
		service := mustService(t, rapid.SampledFrom([]string{"/group/app", "/group", "/group2", "/other/app", "/"}).Draw(t, "service"))
		if rapid.Bool().Draw(t, "bound") {
			who.Service = acl.BindTo(mustService(t, rapid.SampledFrom([]string{"/group/app", "/group", "/other/app", "/"}).Draw(t, "token")))
		}
		var paths []acl.Path
		for _, s := range rapid.SliceOf(rapid.SampledFrom([]string{"group/a", "group/b", "group/app/x", "other/a", "shared"})).Draw(t, "paths") {
			paths = append(paths, mustPath(t, s))
		}
		allowed := p.DecideResolve(who, service, paths).Allowed
		each := true
		for _, path := range paths {
			read := p.Decide(who, acl.Request{Op: acl.ReadSecret, Path: path, Service: service, HasService: true}).Allowed
			if read && !service.MayRead(path) {
				t.Fatalf("%s may read %s outside its space", service, path)
			}
			each = each && (read || !service.MayRead(path))
		}
		if allowed && !each {
			t.Fatalf("%+v may resolve %v for %s, and not read each", who, paths, service)
		}
	})
}
