package iam_test

import (
	"errors"
	"testing"
	"time"

	"secretstore/acl"
	"secretstore/iam"
)

const issuer = "https://id.example"

func (w *world) remote(uid iam.UID) {
	w.Helper()
	w.do(w.CreateUser(iam.User{UID: uid, Provider: iam.Provider{Type: iam.OIDC, ID: "corp"}}, admin))
}

func (w *world) in(uid iam.UID) (groups []iam.GID) {
	u, err := w.User(uid)
	if err != nil {
		w.Fatal(err)
	}
	for _, m := range u.Groups {
		groups = append(groups, m.GID)
	}
	return groups
}

func same(a, b []iam.GID) bool {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestMappedMembershipsFollowTheClaimAndOthersStay(t *testing.T) {
	w := newWorld(t)
	w.remote("ann@example.com")
	for _, g := range []iam.GID{"dev", "ops", "board"} {
		w.group(g)
	}
	w.do(w.AddMember("board", "ann@example.com", admin))
	sign := func(groups ...iam.GID) {
		t.Helper()
		w.do(w.SignInRemote("ann@example.com", issuer, "1", groups, admin))
	}
	steps := []struct{ claim, want []iam.GID }{
		{[]iam.GID{"dev", "ops"}, []iam.GID{"board", "dev", "ops"}},
		{[]iam.GID{"ops"}, []iam.GID{"board", "ops"}},
		{[]iam.GID{"ops", "nowhere", "board"}, []iam.GID{"board", "ops"}},
		{nil, []iam.GID{"board"}}, // it was given by hand
	}
	for _, s := range steps {
		sign(s.claim...)
		if got := w.in("ann@example.com"); !same(got, s.want) {
			t.Errorf("after %v: %v, not %v", s.claim, got, s.want)
		}
	}
	if c, err := w.SignInRemote("ann@example.com", issuer, "1", nil, admin); err != nil || len(c.Put) > 0 {
		t.Errorf("the same sign-in again: %v, %v", c, err)
	}
}

func TestClaimNeverMakesASuperuser(t *testing.T) {
	w := newWorld(t)
	w.remote("ann@example.com")
	w.group("roots")
	w.do(w.Grant(iam.Superuser, iam.OfGroup("roots"), acl.Read, admin.At.AddDate(1, 0, 0), admin))
	w.do(w.SignInRemote("ann@example.com", issuer, "1", []iam.GID{iam.Superusers, "roots"}, admin))
	if got := w.in("ann@example.com"); len(got) > 0 || w.IsSuperuser("ann@example.com") {
		t.Errorf("the claim gave %v", got)
	}
}

func TestGroupMadeAgainDoesNotKeepMappedMembers(t *testing.T) {
	w := newWorld(t)
	w.remote("ann@example.com")
	w.group("dev")
	w.do(w.SignInRemote("ann@example.com", issuer, "1", []iam.GID{"dev"}, admin))
	w.do(w.DeleteGroup("dev"))
	w.group("dev")
	if len(w.Members("dev")) != 0 {
		t.Fatal("a member of the old group is in the new one")
	}
	w.do(w.SignInRemote("ann@example.com", issuer, "1", []iam.GID{"dev"}, admin))
	if len(w.Members("dev")) != 1 || len(w.in("ann@example.com")) != 1 {
		t.Errorf("members %v, groups %v", w.Members("dev"), w.in("ann@example.com"))
	}
}

// TestTheLastSuperuserSignsIn: a claim put it into a group that has become one of
// superusers, so that claims no longer count for it. It stays a member.
func TestTheLastSuperuserSignsIn(t *testing.T) {
	w := newWorld(t)
	w.remote("ann@example.com")
	w.user("bob")
	w.group("ops")
	w.do(w.SignInRemote("ann@example.com", issuer, "1", []iam.GID{"ops"}, admin))
	w.do(w.Grant(iam.Superuser, iam.OfGroup("ops"), acl.Full, time.Time{}, admin))
	w.do(w.Grant(iam.Superuser, iam.OfUser("bob"), acl.Full, epoch.Add(time.Hour), admin))
	for _, groups := range [][]iam.GID{{"ops"}, nil} {
		w.do(w.SignInRemote("ann@example.com", issuer, "1", groups, admin))
		if !w.IsSuperuser("ann@example.com") {
			t.Errorf("groups %v: the last superuser whose right has no end lost it", groups)
		}
	}
	w.do(w.AddMember(iam.Superusers, "bob", admin))
	w.do(w.SignInRemote("ann@example.com", issuer, "1", nil, admin))
	if w.IsSuperuser("ann@example.com") {
		t.Error("a membership that a claim made stays though there is another superuser")
	}
}

func TestAccountIsBoundToOneSubject(t *testing.T) {
	w := newWorld(t)
	w.remote("ann@example.com")
	w.user("local")
	if w.Bound(issuer, "") != nil || w.Bound("", "1") != nil || w.Bound(issuer, "1") != nil {
		t.Error("an account is found that nobody has bound")
	}
	w.do(w.SignInRemote("ann@example.com", issuer, "1", nil, admin))
	if u := w.Bound(issuer, "1"); u == nil || u.UID != "ann@example.com" {
		t.Errorf("bound: %v", u)
	}
	for name, try := range map[string][3]string{
		"another subject": {"ann@example.com", issuer, "2"},
		"another issuer":  {"ann@example.com", "https://other.example", "1"},
		"a local account": {"local", issuer, "1"},
		"no subject":      {"ann@example.com", issuer, ""},
	} {
		_, err := w.SignInRemote(iam.UID(try[0]), try[1], try[2], nil, admin)
		if e := (*iam.Error)(nil); !errors.As(err, &e) || e.Code != iam.InvalidData {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.do(w.DeleteUser("ann@example.com"))
	if w.Bound(issuer, "1") != nil {
		t.Error("a deleted account is still bound")
	}
	w.do(w.CreateRemoteUser(iam.User{UID: "ann@example.com", Provider: iam.Provider{Type: iam.OIDC, ID: "corp"}}, issuer, "7", nil, admin))
	if w.Bound(issuer, "1") != nil || w.Bound(issuer, "7") == nil {
		t.Error("a new account has the subject of the old one, or not its own")
	}
}

func TestSuperuserOfTheFileIsNotChangedByASignIn(t *testing.T) {
	w := newWorld(t)
	w.remote("ann@example.com")
	w.do(w.SignInRemote("ann@example.com", issuer, "1", nil, admin))
	w.Directory = w.WithBootstrap(iam.FileIdentity("ann@example.com", "x"))
	if w.Bound(issuer, "1") != nil {
		t.Error("a subject stands for a superuser of the file")
	}
	if _, err := w.SignInRemote("ann@example.com", issuer, "1", nil, admin); err == nil {
		t.Error("a superuser of the file was changed")
	}
}
