package iam_test

import (
	"fmt"
	"slices"
	"testing"

	"secretstore/acl"
	"secretstore/iam"
)

func TestTheDirectoryAddsToThePolicy(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	w.user("bob")
	w.group("crew")
	w.do(w.AddMember("crew", "alice", admin))
	w.grant("dcos:secrets:default:/a/*", iam.OfGroup("crew"), acl.Read)
	w.grant("dcos:secrets:resolve:default:/a", iam.OfUser("bob"), acl.Read)
	path, err := acl.ParsePath("a/x")
	if err != nil {
		t.Fatal(err)
	}
	read := acl.Request{Op: acl.ReadSecret, Path: path}
	for uid, want := range map[string]bool{"alice": true, "bob": false, "stranger": false} {
		if d := (*acl.Policy)(nil).WithGrants(w.Directory).Decide(acl.Principal{UID: uid}, read); d.Allowed != want {
			t.Errorf("%s: %+v", uid, d)
		}
	}
	if got := w.MemberSince("alice", "crew"); got.By != string(admin.By) || !got.At.Equal(admin.At) {
		t.Errorf("alice is in crew since %+v", got)
	}
	if got := w.MemberSince("bob", "crew"); got != (acl.Origin{}) {
		t.Errorf("bob is not in crew: %+v", got)
	}
	uids, groups := w.SecretHolders()
	slices.Sort(uids)
	crew := func(g *acl.Grants) bool { return g.Holder() == acl.Holder{Source: acl.Identities, Group: "crew"} }
	if !slices.ContainsFunc(groups, crew) || !slices.Contains(uids, "alice") || !slices.Contains(uids, "bob") {
		t.Errorf("users %q, groups %v", uids, groups)
	}
	w.do(w.DeleteUser("alice"))
	if d := (*acl.Policy)(nil).WithGrants(w.Directory).Decide(acl.Principal{UID: "alice"}, read); d.Allowed || len(w.SecretGrants("alice")) != 0 {
		t.Errorf("a deleted account: %+v", d)
	}
	if uids, _ := w.SecretHolders(); slices.Contains(uids, "alice") {
		t.Error("a deleted account has grants")
	}
	var none *iam.Directory
	if none.SecretGrants("alice") != nil {
		t.Error("no directory grants something")
	}
}

// BenchmarkSecretDecisionInManyGroups decides for a user who has 100,000 grants through
// 50 groups, whose grants have nothing in common.
func BenchmarkSecretDecisionInManyGroups(b *testing.B) {
	var all []iam.Entry
	u := &iam.User{UID: "one", Provider: iam.Provider{Type: iam.Internal}, Generation: iam.Generation{3}}
	for g := range 50 {
		group := &iam.Group{GID: iam.GID(fmt.Sprintf("g%d", g)), Generation: iam.Generation{2}}
		for i := range 2000 {
			rid := ridOf(b, fmt.Sprintf("dcos:secrets:default:/s%d/g%d%s", i, g, []string{"", "/*"}[i%2]))
			all = append(all, &iam.ACL{RID: rid, Generation: iam.Generation{1}})
			group.Grants = append(group.Grants, iam.Grant{RID: rid, ACL: iam.Generation{1}, Action: acl.Read})
		}
		all = append(all, group)
		u.Groups = append(u.Groups, iam.Membership{GID: group.GID, Group: group.Generation})
	}
	p := (*acl.Policy)(nil).WithGrants((&iam.Directory{}).With(append(all, u)))
	for name, path := range map[string]string{"allowed": "s1999/g49/x", "denied": "none/at/all", "near": "s1999/g50/x"} {
		escaped, err := acl.ParsePath(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(acl.Principal{UID: "one"}, acl.Request{Op: acl.ReadSecret, Path: escaped})
			}
		})
	}
}

// BenchmarkSecretDecision decides about secrets with 10,000 users, 1,000 groups and
// 100,000 grants, for a user in ten groups.
func BenchmarkSecretDecision(b *testing.B) {
	var all []iam.Entry
	grants := func(from, n int) (out []iam.Grant) {
		for i := range n {
			end := ""
			if i%2 == 1 {
				end = "/*"
			}
			a := &iam.ACL{RID: ridOf(b, fmt.Sprintf("dcos:secrets:default:/team%d/app%d%s", from, i, end)), Generation: iam.Generation{1}}
			all = append(all, a)
			out = append(out, iam.Grant{RID: a.RID, ACL: a.Generation, Action: acl.Read})
		}
		return out
	}
	for i := range 1000 {
		all = append(all, &iam.Group{GID: iam.GID(fmt.Sprintf("g%d", i)), Generation: iam.Generation{2}, Grants: grants(i, 90)})
	}
	for i := range 10_000 {
		u := &iam.User{UID: iam.UID(fmt.Sprintf("u%d", i)), Provider: iam.Provider{Type: iam.Internal}, Generation: iam.Generation{3}, Grants: grants(i%1000, 1)}
		for g := range 10 {
			u.Groups = append(u.Groups, iam.Membership{GID: iam.GID(fmt.Sprintf("g%d", (i+g)%1000)), Group: iam.Generation{2}})
		}
		all = append(all, u)
	}
	p := (*acl.Policy)(nil).WithGrants((&iam.Directory{}).With(all))
	for name, path := range map[string]string{"allowed": "team86/app89/x", "denied": "team86/none"} {
		escaped, err := acl.ParsePath(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(acl.Principal{UID: "u77"}, acl.Request{Op: acl.ReadSecret, Path: escaped})
			}
		})
	}
}
