package authority_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/iam/authority"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// admin makes what tests need.
func admin() iam.Origin { return iam.Origin{By: "admin", At: time.Now().UTC()} }

// rounds of hashes: sign-ins are many, and their cost does not matter here.
const rounds = 2000

func start(t testing.TB, s *server, file string) *authority.Authority {
	t.Helper()
	supers, err := authority.ParseSuperusers([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.New(authority.Config{Storage: s, Superusers: supers, Log: zap.NewNop(), Rounds: rounds})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// unsealed starts a server, and waits for the entries that all directories have.
func unsealed(t testing.TB, s *server, file string) *authority.Authority {
	t.Helper()
	a := start(t, s, file)
	s.unseal(0)
	await(t, a, func(d *iam.Directory) bool {
		_, err := d.Group(iam.Superusers)
		return err == nil
	})
	return a
}

// await waits until the directory is as the test wants it.
func await(t testing.TB, a *authority.Authority, want func(*iam.Directory) bool) {
	t.Helper()
	for {
		changed := a.Changed()
		if d, err := a.Directory(); err == nil && want(d) {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("the directory has not become what it should")
		}
	}
}

// do applies a change, which must not be refused.
func do(t testing.TB, a *authority.Authority, f func(*iam.Directory) (iam.Change, error)) {
	t.Helper()
	if err := a.Change(context.WithoutCancel(t.Context()), f); err != nil {
		t.Fatal(err)
	}
}

func addUser(t testing.TB, a *authority.Authority, u iam.User) {
	t.Helper()
	if u.Provider.Type == "" {
		u.Provider.Type = iam.Internal
	}
	do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.CreateUser(u, admin()) })
}

func ridOf(t testing.TB, s string) iam.RID {
	t.Helper()
	rid, err := iam.ParseRID(s)
	if err != nil {
		t.Fatal(err)
	}
	return rid
}

func TestEveryDirectoryHasSuperusers(t *testing.T) {
	c := newCluster()
	a, b := unsealed(t, c.server(), ""), unsealed(t, c.server(), "")
	for _, server := range []*authority.Authority{a, b} {
		d, err := server.Directory()
		if err != nil {
			t.Fatal(err)
		}
		grants, err := d.Grants(iam.OfGroup(iam.Superusers))
		if err != nil || len(grants) != 1 {
			t.Errorf("%v, %v", grants, err)
		}
	}
	if c.writes != 1 {
		t.Errorf("%d writes", c.writes)
	}
}

func TestSetUpLeavesADamagedDirectoryAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		s := c.server()
		a := start(t, s, "")
		s.unseal(1)
		synctest.Wait()
		if c.writes != 0 {
			t.Errorf("%d writes", c.writes)
		}
		if warnings := a.Warnings(); len(warnings) != 1 || !strings.Contains(warnings[0], "1 records") {
			t.Errorf("%q", warnings)
		}

	})
}

func TestChangesOfTwoServersAtOnceAllCount(t *testing.T) {
	c := newCluster()
	servers := []*authority.Authority{unsealed(t, c.server(), ""), unsealed(t, c.server(), "")}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			addUser(t, servers[i%2], iam.User{UID: iam.UID(fmt.Sprintf("u%d", i))})
		})
	}
	all.Wait()
	for _, a := range servers {
		await(t, a, func(d *iam.Directory) bool { return len(d.Users()) == 100 })
	}
}

func TestOfTwoServersOneKeepsTheLastSuperuser(t *testing.T) {
	c := newCluster()
	a, b := unsealed(t, c.server(), ""), unsealed(t, c.server(), "")
	for round := range 100 {
		u, v := iam.UID(fmt.Sprintf("a%d", round)), iam.UID(fmt.Sprintf("b%d", round))
		for _, uid := range []iam.UID{u, v} {
			addUser(t, a, iam.User{UID: uid})
			do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.AddMember(iam.Superusers, uid, admin()) })
		}
		// The one of the round before goes: exactly two are left.
		if d, _ := a.Directory(); round > 0 {
			for _, old := range d.Members(iam.Superusers) {
				if old.UID != u && old.UID != v {
					do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.RemoveMember(iam.Superusers, old.UID) })
				}
			}
		}
		var both sync.WaitGroup
		errs := make([]error, 2)
		for i, of := range []*authority.Authority{a, b} {
			uid := []iam.UID{u, v}[i]
			both.Go(func() {
				errs[i] = of.Change(t.Context(), func(d *iam.Directory) (iam.Change, error) { return d.DeleteUser(uid) })
			})
		}
		both.Wait()
		var refusal *iam.Error
		if (errs[0] == nil) == (errs[1] == nil) || !errors.As(errors.Join(errs...), &refusal) || refusal.Code != iam.NoMoreSuperusers {
			t.Fatalf("%v", errs)
		}
	}
}

func TestSealedOnlyTheFileCounts(t *testing.T) {
	c := newCluster()
	s := c.server()
	a := unsealed(t, s, "root:"+cheapHash)
	addUser(t, a, iam.User{UID: "alice"})
	s.seal()
	if _, err := a.Directory(); !errors.Is(err, errSealed) {
		t.Errorf("sealed: %v", err)
	}
	d := a.Known()
	if !d.IsSuperuser("root") || d.Known("alice") || len(d.Users()) != 1 || a.Records("") != nil {
		t.Errorf("known while sealed: %v", d.Users())
	}
	s.unseal(0)
	if d, err := a.Directory(); err != nil || !d.Known("alice") || !d.IsSuperuser("root") {
		t.Errorf("unsealed again: %v", err)
	}
}

func TestUndecodableRecordsGiveNoRight(t *testing.T) {
	c := newCluster()
	s := c.server()
	a := unsealed(t, s, "")
	const rid = "dcos:mesos:task:/a"
	addUser(t, a, iam.User{UID: "alice"})
	addUser(t, a, iam.User{UID: "bob"})
	do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.CreateGroup("crew", "", iam.Internal, admin()) })
	do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.CreateACL(ridOf(t, rid), rid, "", admin()) })
	do(t, a, func(d *iam.Directory) (iam.Change, error) {
		return d.Grant(ridOf(t, rid), iam.OfUser("alice"), acl.Read, time.Time{}, admin())
	})
	do(t, a, func(d *iam.Directory) (iam.Change, error) {
		return d.Grant(ridOf(t, rid), iam.OfGroup("crew"), acl.Read, time.Time{}, admin())
	})
	do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.AddMember("crew", "bob", admin()) })
	good := c.content()
	check := func(when string, alice, bob bool, damaged int) {
		t.Helper()
		d, err := a.Directory()
		if err != nil {
			t.Fatal(err)
		}
		if d.Allows("alice", ridOf(t, rid), acl.Read) != alice || d.Allows("bob", ridOf(t, rid), acl.Read) != bob {
			t.Errorf("%s: wrong decisions", when)
		}
		if _, _, _, n := a.Entries(); n != damaged {
			t.Errorf("%s: %d damaged", when, n)
		}
		if !d.Known("alice") {
			t.Errorf("%s: tokens of others can mean alice", when)
		}
	}
	check("at first", true, true, 0)
	// The record of another user in the place of alice's, and garbage for the group.
	c.put(iam.Record{Name: "user/alice", Data: good["user/bob"]}, iam.Record{Name: "group/crew", Data: []byte("\x01{")})
	check("damaged", false, false, 2)
	s.seal()
	s.unseal(0)
	check("loaded", false, false, 2)
	c.put(iam.Record{Name: "user/alice", Data: good["user/alice"]}, iam.Record{Name: "group/crew", Data: good["group/crew"]})
	check("repaired", true, true, 0)
	c.put(iam.Record{Name: "acl/" + rid, Data: nil})
	check("without the ACL", false, false, 1)
}

func TestGrantsEndByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCluster().server()
		a := start(t, s, "")
		s.unseal(0)
		synctest.Wait()
		addUser(t, a, iam.User{UID: "alice"})
		rid := ridOf(t, "x")
		do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.CreateACL(rid, "x", "", admin()) })
		do(t, a, func(d *iam.Directory) (iam.Change, error) {
			return d.Grant(rid, iam.OfUser("alice"), acl.Read, time.Now().Add(time.Hour), admin())
		})
		allowed := func() bool {
			d, err := a.Directory()
			return err == nil && d.Allows("alice", rid, acl.Read)
		}
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		if !allowed() {
			t.Error("ended too early")
		}
		changed := a.Changed()
		time.Sleep(time.Second)
		synctest.Wait()
		select {
		case <-changed:
		default:
			t.Error("the end is not reported")
		}
		if allowed() {
			t.Error("allowed after the end")
		}

	})
}

func TestRecordsOfOtherKinds(t *testing.T) {
	change := func(a *authority.Authority, put []iam.Record, remove []string) error {
		return a.UpdateRecords(t.Context(), "", func(map[string][]byte) ([]iam.Record, []string, error) { return put, remove, nil })
	}
	c := newCluster()
	a, b := unsealed(t, c.server(), ""), unsealed(t, c.server(), "")
	if err := change(a, []iam.Record{{Name: "key/1", Data: []byte("k")}, {Name: "oidc/x", Data: []byte("o")}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := b.Records("key/"); len(got) != 1 || string(got["key/1"]) != "k" {
		t.Errorf("%q", got)
	}
	if err := change(b, nil, []string{"key/1"}); err != nil || len(a.Records("key/")) != 0 {
		t.Errorf("%v, %q", err, a.Records("key/"))
	}
	for _, name := range []string{"user/alice", "group/x", "acl/x"} {
		if err := change(a, []iam.Record{{Name: name}}, nil); !errors.Is(err, authority.ErrNotPlain) {
			t.Errorf("%s: %v", name, err)
		}
		if err := change(a, nil, []string{name}); !errors.Is(err, authority.ErrNotPlain) {
			t.Errorf("remove %s: %v", name, err)
		}
	}
}

func TestAccountsWhoseRecordsAreLostStayKnown(t *testing.T) {
	s := newCluster().server()
	s.lost = "user/alice"
	a := unsealed(t, s, "")
	addUser(t, a, iam.User{UID: "bob"})
	d, err := a.Directory()
	if err != nil || !d.Known("alice") || !d.Known("bob") || d.Known("carol") || d.IsSuperuser("alice") {
		t.Errorf("%v", err)
	}
	if _, err := d.User("alice"); err == nil {
		t.Error("a lost account exists")
	}
}
