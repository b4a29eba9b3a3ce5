package iam_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"secretstore/acl"
	"secretstore/iam"
)

var (
	admin = iam.Origin{By: "admin", At: time.Unix(1_700_000_000, 0).UTC()}
	epoch = time.Unix(1_700_000_000, 0).UTC()
)

// world is a directory that a test changes step by step.
type world struct {
	testing.TB
	*iam.Directory
}

func newWorld(t testing.TB) *world {
	w := &world{t, (&iam.Directory{}).At(epoch)}
	w.apply(w.Setup(admin))
	return w
}

func (w *world) apply(c iam.Change) { w.Directory = w.With(c.Put, c.Remove...) }

// do applies a change, which must not be refused.
func (w *world) do(c iam.Change, err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	w.apply(c)
}

// refused checks the code of a refusal.
func (w *world) refused(want iam.Code, c iam.Change, err error) {
	w.Helper()
	var refusal *iam.Error
	if !errors.As(err, &refusal) || refusal.Code != want || len(c.Put)+len(c.Remove) > 0 {
		w.Errorf("%v, not %s", err, want)
	}
}

func (w *world) user(uid iam.UID) {
	w.Helper()
	w.do(w.CreateUser(iam.User{UID: uid, Provider: iam.Provider{Type: iam.Internal}, Hash: "$6$x"}, admin))
}

func (w *world) group(gid iam.GID) {
	w.Helper()
	w.do(w.CreateGroup(gid, "", iam.Internal, admin))
}

// grant also makes the ACL if there is none.
func (w *world) grant(rid string, h iam.Holder, a acl.Action) {
	w.Helper()
	r := ridOf(w, rid)
	if _, err := w.ACL(r); err != nil {
		w.do(w.CreateACL(r, rid, "", admin))
	}
	w.do(w.Grant(r, h, a, time.Time{}, admin))
}

func ridOf(t testing.TB, s string) iam.RID {
	t.Helper()
	r, err := iam.ParseRID(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestIDsFollowTheRulesOfDCOS(t *testing.T) {
	for _, row := range []struct {
		s        string
		uid, gid bool
	}{
		{"alice", true, true}, {"a@b.c", true, true}, {"A-_9", true, true},
		{"", false, false}, {"anonymous", false, true}, {"a+b", false, false}, {"a b", false, false}, {"ä", false, false},
		{".", false, false}, {"..", false, false}, {"a/b", false, false}, {"a\x00", false, false},
		{strings.Repeat("u", 64), true, true}, {strings.Repeat("u", 96), true, false}, {strings.Repeat("u", 97), false, false},
	} {
		_, uid := iam.ParseUID(row.s)
		_, gid := iam.ParseGID(row.s)
		if (uid == nil) != row.uid || (gid == nil) != row.gid {
			t.Errorf("%q: %v, %v", row.s, uid, gid)
		}
	}
}

func TestSpellingsOfOneSecretAreOneResource(t *testing.T) {
	want := ridOf(t, "dcos:secrets:default:/a/b")
	for _, s := range []string{"dcos:secrets:default:a/b", "dcos:secrets:default:%2Fa%2fb", "dcos:secrets:default:/a%252Fb"} {
		if got := ridOf(t, s); got != want {
			t.Errorf("%s is %s", s, got)
		}
	}
	for _, s := range []string{"", " ", "a b", "a?b", "a#b", `a\b`, "a\nb", "ä", strings.Repeat("r", 1025)} {
		if r, err := iam.ParseRID(s); err == nil {
			t.Errorf("%q is %q", s, r)
		}
	}
}

// TestTheCanonicalSpellingIsNotTooLong: a record with one that is could not be read.
func TestTheCanonicalSpellingIsNotTooLong(t *testing.T) {
	const prefix = "dcos:secrets:default:"
	path := strings.Repeat(strings.Repeat("p", 250)+"/", 4)
	for n, ok := range map[int]bool{iam.MaxRIDBytes - 1: true, iam.MaxRIDBytes: false} {
		r, err := iam.ParseRID((prefix + path)[:n])
		if (err == nil) != ok {
			t.Errorf("%d characters: %v", n, err)
		}
		if err != nil {
			continue
		}
		a := &iam.ACL{RID: r, Name: r.String()}
		record, err := iam.Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := iam.Decode(a.ID(), record); err != nil {
			t.Errorf("the record of a resource with %d characters: %v", len(r.String()), err)
		}
	}
}

func TestBroadPatternsAreNotEachOther(t *testing.T) {
	if ridOf(t, "dcos:*") == ridOf(t, "dcos:secrets:*") {
		t.Error("dcos:* is dcos:secrets:*")
	}
}

func FuzzRID(f *testing.F) {
	for _, s := range []string{"dcos:superuser", "dcos:*", "dcos:secrets:*", "dcos:secrets:default:/a%252Fb*", "dcos:mesos:master:task:app_id:/x", "*", "%2F%252F", "dcos:superuser*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := iam.ParseRID(s)
		if err != nil {
			if r != (iam.RID{}) {
				t.Fatalf("%q: refused and %v", s, r)
			}
			return
		}
		again, err := iam.ParseRID(r.String())
		if err != nil || again != r {
			t.Fatalf("%q is %q, which is %q: %v", s, r, again, err)
		}
		if r == iam.Superuser && s != "dcos:superuser" {
			t.Fatalf("%q is the superuser", s)
		}
	})
}

func TestResourcesThatCoverOthers(t *testing.T) {
	for _, row := range []struct {
		rid, other string
		want       bool
	}{
		{"dcos:superuser", "dcos:mesos:x", true},
		{"dcos:superuser", "dcos:secrets:default:/a", true},
		{"dcos:*", "dcos:superuser", false},
		{"dcos:*", "dcos:mesos:x", true},
		{"dcos:*", "dcos:secrets:*", true},
		{"dcos:secrets:*", "dcos:*", false},
		{"dcos:mesos:*", "dcos:mesos:a:*", true},
		{"dcos:mesos:a:*", "dcos:mesos:*", false},
		{"dcos:adminrouter:*", "dcos:adminrouter:ops:metadata", false},
		{"dcos:secrets:default:/a/*", "dcos:secrets:default:%252Fa%252Fb", true},
	} {
		if got := ridOf(t, row.rid).Covers(ridOf(t, row.other)); got != row.want {
			t.Errorf("%s covers %s: %v", row.rid, row.other, got)
		}
	}
	if (iam.RID{}).Covers(iam.Superuser) || iam.Superuser.Covers(iam.RID{}) {
		t.Error("the zero resource covers something")
	}
}

func TestDecisions(t *testing.T) {
	w := newWorld(t)
	for _, uid := range []iam.UID{"exact", "wild", "full", "member", "super", "star"} {
		w.user(uid)
	}
	w.group("readers")
	w.grant("dcos:mesos:task:/a", iam.OfUser("exact"), acl.Read)
	w.grant("dcos:mesos:task:/a/*", iam.OfUser("wild"), acl.Read)
	w.grant("dcos:mesos:task:/a", iam.OfUser("full"), acl.Full)
	w.grant("dcos:mesos:task:/a", iam.OfGroup("readers"), acl.Read)
	w.grant("dcos:*", iam.OfUser("star"), acl.Full)
	w.do(w.AddMember("readers", "member", admin))
	w.do(w.AddMember(iam.Superusers, "super", admin))
	for _, row := range []struct {
		uid    iam.UID
		rid    string
		action acl.Action
		want   bool
	}{
		{"exact", "dcos:mesos:task:/a", acl.Read, true},
		{"exact", "dcos:mesos:task:%252Fa", acl.Read, true},
		{"exact", "dcos:mesos:task:/a", acl.Update, false},
		{"exact", "dcos:mesos:task:/a/b", acl.Read, false},
		{"wild", "dcos:mesos:task:/a/b", acl.Read, true},
		{"wild", "dcos:mesos:task:/a", acl.Read, false},
		{"full", "dcos:mesos:task:/a", acl.Delete, true},
		{"member", "dcos:mesos:task:/a", acl.Read, true},
		{"member", "dcos:mesos:task:/a", acl.Delete, false},
		{"super", "anything", acl.Delete, true},
		{"super", "dcos:superuser", acl.Full, true},
		{"star", "dcos:mesos:task:/z", acl.Delete, true},
		{"star", "dcos:superuser", acl.Read, false},
		{"nobody", "dcos:mesos:task:/a", acl.Read, false},
		{"", "dcos:mesos:task:/a", acl.Read, false},
		{"full", "dcos:mesos:task:/a", 0, false},
		{"full", "dcos:mesos:task:/a", acl.Full + 1, false},
	} {
		if got := w.Allows(row.uid, ridOf(t, row.rid), row.action); got != row.want {
			t.Errorf("%s %s %s: %v", row.uid, row.action, row.rid, got)
		}
	}
	if w.Allows("super", iam.RID{}, acl.Read) || (&iam.Directory{}).Allows("super", ridOf(t, "x"), acl.Read) {
		t.Error("a zero value allows something")
	}
}

func TestWhatIsMadeAgainHasNoneOfTheOldRights(t *testing.T) {
	const rid = "dcos:mesos:task:/a"
	for name, again := range map[string]func(*world){
		"user": func(w *world) {
			w.do(w.DeleteUser("alice"))
			w.user("alice")
			w.do(w.AddMember("crew", "alice", admin))
		},
		"group": func(w *world) { w.do(w.DeleteGroup("crew")); w.group("crew") },
		"acl": func(w *world) {
			w.do(w.DeleteACL(ridOf(t, rid)))
			w.do(w.CreateACL(ridOf(t, rid), rid, "", admin))
		},
	} {
		w := newWorld(t)
		w.user("alice")
		w.group("crew")
		if name == "user" {
			w.grant(rid, iam.OfUser("alice"), acl.Read)
		} else {
			w.grant(rid, iam.OfGroup("crew"), acl.Read)
		}
		w.do(w.AddMember("crew", "alice", admin))
		before, _ := w.User("alice")
		if !w.Allows("alice", ridOf(t, rid), acl.Read) {
			t.Fatalf("%s: not allowed at first", name)
		}
		again(w)
		if w.Allows("alice", ridOf(t, rid), acl.Read) {
			t.Errorf("%s: made again, and the old grant counts", name)
		}
		if after, _ := w.User("alice"); name == "user" && after.Generation == before.Generation {
			t.Error("a new account has the old generation")
		}
		// What is void does not stop a new grant or membership.
		if name == "group" {
			w.do(w.AddMember("crew", "alice", admin))
			w.grant(rid, iam.OfGroup("crew"), acl.Read)
		} else if name == "acl" {
			w.grant(rid, iam.OfGroup("crew"), acl.Read)
		}
		if name != "user" && !w.Allows("alice", ridOf(t, rid), acl.Read) {
			t.Errorf("%s: a new grant does not count", name)
		}
	}
}

func TestDeletedAccountsStayKnown(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	w.do(w.DeleteUser("alice"))
	if !w.Known("alice") || w.Known("bob") {
		t.Error("a deleted account is not known, or another is")
	}
	_, err := w.User("alice")
	w.refused(iam.UnknownUserID, iam.Change{}, err)
	for _, u := range w.Users() {
		t.Errorf("listed: %s", u.UID)
	}
}

func TestGrantsEnd(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	rid := ridOf(t, "dcos:mesos:task:/a")
	secret := ridOf(t, "dcos:secrets:default:/a")
	w.do(w.CreateACL(rid, rid.String(), "", admin))
	w.do(w.CreateACL(secret, secret.String(), "", admin))
	end := epoch.Add(time.Hour)
	w.do(w.Grant(rid, iam.OfUser("alice"), acl.Read, end, admin))
	w.do(w.Grant(secret, iam.OfUser("alice"), acl.Read, end.Add(time.Hour), admin))
	if !w.NextEnd().Equal(end) || !w.Allows("alice", rid, acl.Read) {
		t.Fatalf("before the end: %v", w.NextEnd())
	}
	w.Directory = w.At(end.Add(-1))
	if !w.Allows("alice", rid, acl.Read) {
		t.Error("ended too early")
	}
	w.Directory = w.At(end)
	if w.Allows("alice", rid, acl.Read) || !w.NextEnd().Equal(end.Add(time.Hour)) || len(w.SecretGrants("alice")) != 1 {
		t.Errorf("at the end: %v", w.NextEnd())
	}
	w.do(w.Grant(rid, iam.OfUser("alice"), acl.Read, time.Time{}, admin)) // the old one does not count as there
	w.Directory = w.At(end.Add(time.Hour))
	if !w.Allows("alice", rid, acl.Read) || !w.NextEnd().IsZero() || len(w.SecretGrants("alice")) != 0 {
		t.Errorf("after the last end: %v", w.NextEnd())
	}
}

func TestTheLastSuperuserStays(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	w.user("bob")
	w.do(w.AddMember(iam.Superusers, "alice", admin))
	c, err := w.RemoveMember(iam.Superusers, "alice")
	w.refused(iam.NoMoreSuperusers, c, err)
	c, err = w.DeleteUser("alice")
	w.refused(iam.NoMoreSuperusers, c, err)
	c, err = w.Revoke(iam.Superuser, iam.OfGroup(iam.Superusers), acl.Full)
	w.refused(iam.IsSuperuserGroup, c, err)
	c, err = w.RevokeAll(iam.Superuser, iam.OfGroup(iam.Superusers))
	w.refused(iam.IsSuperuserGroup, c, err)
	c, err = w.DeleteGroup(iam.Superusers)
	w.refused(iam.IsSuperuserGroup, c, err)
	c, err = w.DeleteACL(iam.Superuser)
	w.refused(iam.IsSuperuserACL, c, err)

	// Another one by its own grant, through another group, or in the file.
	w.grant("dcos:superuser", iam.OfUser("bob"), acl.Read)
	w.do(w.RemoveMember(iam.Superusers, "alice"))
	c, err = w.Revoke(iam.Superuser, iam.OfUser("bob"), acl.Read)
	w.refused(iam.NoMoreSuperusers, c, err)
	w.group("ops")
	w.grant("dcos:superuser", iam.OfGroup("ops"), acl.Full)
	w.do(w.AddMember("ops", "alice", admin))
	w.do(w.Revoke(iam.Superuser, iam.OfUser("bob"), acl.Read))
	c, err = w.DeleteGroup("ops")
	w.refused(iam.NoMoreSuperusers, c, err)
	w.Directory = w.WithBootstrap(iam.FileIdentity("root", "$6$a$b"))
	w.do(w.DeleteGroup("ops"))
	if w.IsSuperuser("alice") || !w.IsSuperuser("root") || !w.Known("root") {
		t.Error("who is superuser")
	}
}

// The last superuser whose right has no end stays: the others are none one day.
func TestASuperuserWhoseRightEndsIsNotTheLast(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	w.user("bob")
	w.user("carol")
	end := epoch.Add(time.Hour)
	w.do(w.AddMember(iam.Superusers, "alice", admin))
	w.do(w.Grant(iam.Superuser, iam.OfUser("bob"), acl.Full, end, admin))
	w.group("ops")
	w.do(w.Grant(iam.Superuser, iam.OfGroup("ops"), acl.Full, end, admin))
	w.do(w.AddMember("ops", "carol", admin))
	c, err := w.DeleteUser("alice")
	w.refused(iam.NoMoreSuperusers, c, err)
	c, err = w.RemoveMember(iam.Superusers, "alice")
	w.refused(iam.NoMoreSuperusers, c, err)

	// The file has no end, nor has another grant to the same user.
	w.Directory = w.WithBootstrap(iam.FileIdentity("root", "$6$a$b"))
	if _, err := w.DeleteUser("alice"); err != nil {
		t.Errorf("the file names one: %v", err)
	}
	w.Directory = w.WithBootstrap()
	w.do(w.Grant(iam.Superuser, iam.OfUser("bob"), acl.Read, time.Time{}, admin))
	w.do(w.DeleteUser("alice"))
	c, err = w.Revoke(iam.Superuser, iam.OfUser("bob"), acl.Read)
	w.refused(iam.NoMoreSuperusers, c, err)
	w.do(w.Revoke(iam.Superuser, iam.OfUser("bob"), acl.Full))

	// If the file named the only one without an end, one of the others stays.
	w.Directory = w.WithBootstrap(iam.FileIdentity("root", "$6$a$b"))
	w.do(w.DeleteUser("bob"))
	w.user("dave")
	w.do(w.Grant(iam.Superuser, iam.OfUser("dave"), acl.Full, end, admin))
	w.Directory = w.WithBootstrap()
	w.do(w.DeleteUser("carol"))
	c, err = w.DeleteUser("dave")
	w.refused(iam.NoMoreSuperusers, c, err)
}

// A token is for an identity, so each of these ends it.
func TestWhatMakesAnotherIdentity(t *testing.T) {
	w := newWorld(t)
	if who, ok := w.Identity("alice"); ok || who != (iam.Identity{}) {
		t.Errorf("an unknown uid: %v, %v", who, ok)
	}
	w.user("alice")
	seen := make(map[iam.Identity]bool)
	another := func(what string) {
		t.Helper()
		who, ok := w.Identity("alice")
		if !ok || who.UID != "alice" || who.Generation == (iam.Generation{}) || seen[who] {
			t.Errorf("%s: %v, %v", what, who, ok)
		}
		seen[who] = true
	}
	another("a new account")
	hash, description := "hash", "description"
	w.do(w.UpdateUser("alice", iam.UserUpdate{Description: &description}))
	if who, _ := w.Identity("alice"); !seen[who] {
		t.Error("a description ends tokens")
	}
	w.do(w.UpdateUser("alice", iam.UserUpdate{Hash: &hash}))
	another("a new password")
	w.do(w.RevokeTokens("alice"))
	another("tokens revoked")
	w.do(w.DeleteUser("alice"))
	if _, ok := w.Identity("alice"); ok || !w.Known("alice") {
		t.Error("a deleted account")
	}
	w.user("alice")
	another("made again")
	w.Directory = w.WithBootstrap(iam.FileIdentity("alice", "$6$a$b"))
	another("named by the file")
	w.Directory = w.WithBootstrap(iam.FileIdentity("alice", "$6$a$c"))
	another("another hash in the file")
	if iam.FileIdentity("a", "$6$a$b").Generation == iam.FileIdentity("b", "$6$a$b").Generation {
		t.Error("two uids with one hash have one generation")
	}
}

func TestRefusalsHaveTheCodesOfDCOS(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	w.group("crew")
	rid := ridOf(t, "x")
	w.do(w.CreateACL(rid, "x", "", admin))
	for name, row := range map[string]struct {
		want iam.Code
		call func() (iam.Change, error)
	}{
		"user exists":       {iam.UserExists, func() (iam.Change, error) { return w.CreateUser(iam.User{UID: "alice"}, admin) }},
		"user unknown":      {iam.UnknownUserID, func() (iam.Change, error) { return w.DeleteUser("bob") }},
		"nothing to update": {iam.InvalidData, func() (iam.Change, error) { return w.UpdateUser("alice", iam.UserUpdate{}) }},
		"group exists":      {iam.GroupExists, func() (iam.Change, error) { return w.CreateGroup("crew", "", iam.Internal, admin) }},
		"group unknown":     {iam.UnknownGroupID, func() (iam.Change, error) { return w.DeleteGroup("nobody") }},
		"not a member":      {iam.UserNotInGroup, func() (iam.Change, error) { return w.RemoveMember("crew", "alice") }},
		"member unknown":    {iam.UnknownUserID, func() (iam.Change, error) { return w.AddMember("crew", "bob", admin) }},
		"acl exists":        {iam.ACLExists, func() (iam.Change, error) { return w.CreateACL(rid, "x", "", admin) }},
		"acl unknown":       {iam.UnknownResourceID, func() (iam.Change, error) { return w.DeleteACL(ridOf(t, "y")) }},
		"grant unknown rid": {iam.UnknownResourceID, func() (iam.Change, error) {
			return w.Grant(ridOf(t, "y"), iam.OfUser("alice"), acl.Read, time.Time{}, admin)
		}},
		"grant unknown uid": {iam.UnknownUserID, func() (iam.Change, error) { return w.Grant(rid, iam.OfUser("bob"), acl.Read, time.Time{}, admin) }},
		"grant unknown gid": {iam.UnknownGroupID, func() (iam.Change, error) { return w.Grant(rid, iam.OfGroup("bob"), acl.Read, time.Time{}, admin) }},
		"grant to nobody":   {iam.InvalidData, func() (iam.Change, error) { return w.Grant(rid, iam.Holder{}, acl.Read, time.Time{}, admin) }},
		"not granted":       {iam.ActionNotStored, func() (iam.Change, error) { return w.Revoke(rid, iam.OfUser("alice"), acl.Read) }},
		"user not in acl":   {iam.UserNotInACL, func() (iam.Change, error) { return w.RevokeAll(rid, iam.OfUser("alice")) }},
		"group not in acl":  {iam.GroupNotInACL, func() (iam.Change, error) { return w.RevokeAll(rid, iam.OfGroup("crew")) }},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := row.call()
			w.refused(row.want, c, err)
		})
	}
	w.do(w.AddMember("crew", "alice", admin))
	c, err := w.AddMember("crew", "alice", admin)
	w.refused(iam.UserAlreadyInGroup, c, err)
	w.grant("x", iam.OfUser("alice"), acl.Read)
	c, err = w.Grant(rid, iam.OfUser("alice"), acl.Read, time.Time{}, admin)
	w.refused(iam.PermissionExists, c, err)
}

// TestOneRecordIsBounded: a user or a group has so many grants and groups, and a record
// has room for them unless their names are very long.
func TestOneRecordIsBounded(t *testing.T) {
	w := newWorld(t)
	alice := &iam.User{UID: "alice", Provider: iam.Provider{Type: iam.Internal}, Generation: iam.Generation{1}}
	crew := &iam.Group{GID: "crew", Provider: iam.Internal, Generation: iam.Generation{2}}
	entries := []iam.Entry{alice, crew}
	for i := range iam.MaxGrants {
		rid := ridOf(t, fmt.Sprintf("dcos:mesos:task:/app%d%s", i, strings.Repeat("x", 150)))
		entries = append(entries, &iam.ACL{RID: rid, Name: rid.String(), Generation: iam.Generation{3}})
		alice.Grants = append(alice.Grants, iam.Grant{RID: rid, ACL: iam.Generation{3}, Action: acl.Full, Origin: admin})
	}
	crew.Grants = alice.Grants
	for i := range iam.MaxMemberships {
		g := &iam.Group{GID: iam.GID(fmt.Sprint("group", i)), Provider: iam.Internal, Generation: iam.Generation{4}}
		entries = append(entries, g)
		alice.Groups = append(alice.Groups, iam.Membership{GID: g.GID, Group: g.Generation, Origin: admin})
	}
	w.apply(iam.Change{Put: entries})
	if record, err := iam.Encode(alice); err != nil || len(record) > iam.MaxRecordBytes {
		t.Errorf("a record of %d bytes: %v", len(record), err)
	}
	for name, h := range map[string]iam.Holder{"user": iam.OfUser("alice"), "group": iam.OfGroup("crew")} {
		t.Run(name, func(t *testing.T) {
			c, err := w.Grant(alice.Grants[0].RID, h, acl.Read, time.Time{}, admin)
			w.refused(iam.InvalidData, c, err)
		})
	}
	w.do(w.RevokeAll(alice.Grants[1].RID, iam.OfUser("alice")))
	w.do(w.Grant(alice.Grants[0].RID, iam.OfUser("alice"), acl.Read, time.Time{}, admin))
	c, err := w.AddMember("crew", "alice", admin)
	w.refused(iam.InvalidData, c, err)
	w.do(w.DeleteGroup("group7")) // also if it is made again
	w.group("group7")
	w.do(w.AddMember("crew", "alice", admin))

	for i := range crew.Grants {
		crew.Grants[i].RID = ridOf(t, fmt.Sprintf("dcos:mesos:task:/app%d%s", i, strings.Repeat("x", 1000)))
	}
	var refusal *iam.Error
	if _, err := iam.Encode(crew); !errors.As(err, &refusal) || refusal.Code != iam.InvalidData {
		t.Errorf("a record that is too large: %v", err)
	}
}

// TestKeysOfAServiceCanBeRotatedForEver: keys that have ended take no room.
func TestKeysOfAServiceCanBeRotatedForEver(t *testing.T) {
	w := newWorld(t)
	w.do(w.CreateUser(iam.User{UID: "app", Provider: iam.Provider{Type: iam.Internal}, Keys: []iam.Key{{ID: "first", Origin: admin}}}, admin))
	add := func(id string, at, retire time.Time) (iam.Change, error) {
		return w.AddKey("app", iam.Key{ID: id, Origin: iam.Origin{At: at}}, retire)
	}
	for n := range 100 {
		at := epoch.Add(time.Duration(n) * time.Hour)
		w.do(add(fmt.Sprint("key", n), at, at.Add(90*time.Minute)))
		u, _ := w.User("app")
		var ids []string
		for _, k := range u.Keys {
			ids = append(ids, k.ID)
		}
		want := []string{fmt.Sprint("key", n), fmt.Sprint("key", n-1), fmt.Sprint("key", n-2)}
		if n > 1 && !slices.Equal(ids, want) {
			t.Fatalf("keys %q, want %q", ids, want)
		}
	}
	for n := range 13 { // with the three from above they are all that is possible
		w.do(add(fmt.Sprint("more", n), epoch, time.Time{}))
	}
	c, err := add("one more", epoch, time.Time{})
	w.refused(iam.InvalidData, c, err)
}

func TestANewPasswordOrARevocationEndsTokens(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	generation := func() iam.Generation { u, _ := w.User("alice"); return u.Generation }
	first := generation()
	text, hash := "text", "$6$y"
	w.do(w.UpdateUser("alice", iam.UserUpdate{Description: &text}))
	w.do(w.Rehash("alice", "$6$x", "$6$z"))
	if generation() != first {
		t.Error("a description or a rehash ends tokens")
	}
	w.do(w.UpdateUser("alice", iam.UserUpdate{Hash: &hash}))
	second := generation()
	w.do(w.RevokeTokens("alice"))
	if second == first || generation() == second {
		t.Error("tokens stay good")
	}
	w.do(w.Rehash("alice", "$6$x", "$6$old"))
	if u, _ := w.User("alice"); u.Hash != hash {
		t.Error("a rehash of an earlier password replaced the new one")
	}
}

func TestRecordsKeepEverything(t *testing.T) {
	w := newWorld(t)
	w.user("alice")
	w.group("crew")
	w.do(w.AddMember("crew", "alice", admin))
	w.grant("dcos:secrets:default:/a/*", iam.OfUser("alice"), acl.Update)
	w.do(w.Grant(ridOf(t, "dcos:secrets:default:a/*"), iam.OfUser("alice"), acl.Read, epoch.Add(time.Hour), admin))
	w.do(w.CreateUser(iam.User{UID: "svc", Provider: iam.Provider{Type: iam.Internal}, Keys: []iam.Key{{ID: "k", PEM: "p", Origin: admin, RetireAfter: epoch}}}, admin))
	w.do(w.CreateUser(iam.User{UID: "remote", Provider: iam.Provider{Type: iam.OIDC, ID: "corp", Issuer: "https://id.example", Subject: "123"}}, admin))
	var all []iam.Entry
	for _, u := range w.Users() {
		all = append(all, u)
	}
	for _, g := range w.Groups() {
		all = append(all, g)
	}
	for _, a := range w.ACLs() {
		all = append(all, a)
	}
	all = append(all, &iam.User{UID: "gone"})
	for _, e := range all {
		record, err := iam.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := iam.Decode(e.ID(), record)
		if err != nil {
			t.Fatalf("%s: %v", record, err)
		}
		if d := cmp.Diff(e, got, cmp.AllowUnexported(iam.RID{})); d != "" {
			t.Errorf("%s", d)
		}
		other := e.ID()
		other.Name += "x"
		if _, err := iam.Decode(other, record); !errors.Is(err, iam.ErrBadRecord) {
			t.Errorf("%s is read as %v", record, other)
		}
		for cut := range record {
			if _, err := iam.Decode(e.ID(), record[:cut]); !errors.Is(err, iam.ErrBadRecord) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(uint8(1), "alice", []byte("\x01"+`{"uid":"alice","provider":"internal","generation":"00112233445566778899aabbccddeeff","grants":[{"rid":"dcos:superuser","action":"full"}]}`))
	f.Add(uint8(2), "crew", []byte("\x01"+`{"gid":"crew"}`))
	f.Add(uint8(3), "dcos:superuser", []byte("\x01"+`{"rid":"dcos:superuser"}`))
	f.Fuzz(func(t *testing.T, kind uint8, name string, record []byte) {
		id := iam.EntryID{Kind: iam.Kind(kind), Name: name}
		e, err := iam.Decode(id, record)
		if err != nil {
			if !errors.Is(err, iam.ErrBadRecord) || e != nil {
				t.Fatal(e, err)
			}
			return
		}
		again, err := iam.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := iam.Decode(id, again); err != nil || !cmp.Equal(e, back, cmp.AllowUnexported(iam.RID{})) {
			t.Fatalf("%s is %s: %v", record, again, err)
		}
		(&iam.Directory{}).With([]iam.Entry{e})
	})
}

func TestNewAccountsFollowTheRulesOfDCOS(t *testing.T) {
	str := func(s string) *string { return &s }
	for _, row := range []struct {
		name string
		n    iam.NewAccount
		want string // "" if it is accepted
	}{
		{"password", iam.NewAccount{Password: []byte("12345")}, ""},
		{"short", iam.NewAccount{Password: []byte("1234")}, "Password does not match rules: Must be at least 5 characters long."},
		{"empty", iam.NewAccount{Password: []byte{}}, "`password` must not be empty when provided"},
		{"empty key", iam.NewAccount{PublicKey: str("")}, "`public_key` must not be empty when provided"},
		{"neither", iam.NewAccount{}, "One of `password` or `public_key` must be provided"},
		{"both", iam.NewAccount{Password: []byte("12345"), PublicKey: str("x")}, "One of `password` or `public_key` must be provided"},
		{"no such type", iam.NewAccount{ProviderType: str("x")}, "Invalid provider_type: x"},
		{"empty type", iam.NewAccount{ProviderType: str("")}, "Invalid provider_type: "},
		{"external with password", iam.NewAccount{ProviderType: str("ldap"), Password: []byte("12345")}, "external provider: `password` is unexpected"},
		{"ldap", iam.NewAccount{ProviderType: str("ldap")}, ""},
		{"ldap with id", iam.NewAccount{ProviderType: str("ldap"), ProviderID: str("x")}, "Invalid provider_id: provider_id must not be provided unless provider_type is saml or oidc"},
		{"oidc", iam.NewAccount{ProviderType: str("oidc"), ProviderID: str(" ")}, ""},
		{"oidc without id", iam.NewAccount{ProviderType: str("oidc")}, "Invalid provider_id: provider_id must be provided if provider_type is saml or oidc"},
		{"internal with id", iam.NewAccount{Password: []byte("12345"), ProviderID: str("x")}, "Invalid provider_id: provider_id must not be provided unless provider_type is saml or oidc"},
		{"no key", iam.NewAccount{PublicKey: str("x")}, "Invalid public key: it is not one PEM block"},
	} {
		u, err := row.n.Check("alice")
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != row.want || err != nil && u.UID != "" {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}

// large returns a directory of 10,000 users, 1,000 groups and 100,000 grants.
func large(t testing.TB) *iam.Directory {
	var all []iam.Entry
	var root [1000]*iam.ACL
	for i := range root {
		rid := ridOf(t, fmt.Sprintf("dcos:mesos:task:/app%d", i))
		root[i] = &iam.ACL{RID: rid, Name: rid.String(), Generation: iam.Generation{1}}
		all = append(all, root[i])
	}
	grants := func(n int) (out []iam.Grant) {
		for i := range 10 {
			a := root[(n*7+i*13)%len(root)]
			out = append(out, iam.Grant{RID: a.RID, ACL: a.Generation, Action: acl.Read})
		}
		return out
	}
	for i := range 1000 {
		all = append(all, &iam.Group{GID: iam.GID(fmt.Sprintf("g%d", i)), Generation: iam.Generation{2}, Grants: grants(i)})
	}
	for i := range 10_000 {
		u := &iam.User{UID: iam.UID(fmt.Sprintf("u%d", i)), Provider: iam.Provider{Type: iam.Internal}, Generation: iam.Generation{3}, Grants: grants(i)[:9]}
		for g := range 3 {
			u.Groups = append(u.Groups, iam.Membership{GID: iam.GID(fmt.Sprintf("g%d", (i+g)%1000)), Group: iam.Generation{2}})
		}
		all = append(all, u)
	}
	return (&iam.Directory{}).With(all)
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		large(b)
	}
}

func BenchmarkDecision(b *testing.B) {
	d := large(b)
	rid := ridOf(b, "dcos:mesos:task:/nothing")
	b.ReportAllocs()
	for b.Loop() {
		d.Allows("u77", rid, acl.Read)
	}
}

func BenchmarkChange(b *testing.B) {
	d := large(b)
	u, _ := d.User("u77")
	for b.Loop() {
		d.With([]iam.Entry{u})
	}
}
