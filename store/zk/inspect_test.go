//go:build zookeeper

package zk_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

// superDigest is that of super:secret.
const superDigest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="

func TestInspectionFindsWhatIsOpen(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	c := raw(t, server)
	cfg := config(t, server)
	cfg.User, cfg.Password = "store", "a password"
	before := time.Now().Add(-time.Minute)
	if in, err := zk.Inspect(t.Context(), cfg, "f/k"); err != nil || !in.Complete || in.Record || in.Readable.Count+in.Writable.Count > 0 || !in.Changed.IsZero() {
		t.Errorf("of nothing: %+v, %v", in, err)
	}
	if exists, _, err := c.Exists(cfg.Root); exists || err != nil {
		t.Fatalf("the inspection made ROOT: %v", err)
	}
	b := open(t, cfg)
	create(t, b, "f/k", "x")
	in, err := zk.Inspect(t.Context(), cfg, "f/k")
	if err != nil || !in.Complete || in.Looked < 3 || !in.Record || in.RecordReadable || in.Readable.Count+in.Writable.Count > 0 || in.Changed.Before(before) {
		t.Errorf("with a user: %+v, %v", in, err)
	}
	if in, err := b.InspectRoot(t.Context(), "f/k"); err != nil || in.Looked != 2 || !in.Record || in.RecordReadable || in.Readable.Count+in.Writable.Count > 0 {
		t.Errorf("of ROOT: %+v, %v", in, err)
	}
	must(t, c.AddAuth("digest", []byte("store:a password")))
	for path, acl := range map[string][]zkc.ACL{
		"read":             append(zkc.DigestACL(zkc.PermAll, "store", "a password"), zkc.WorldACL(zkc.PermRead)...),
		"f/write":          append(zkc.DigestACL(zkc.PermAll, "store", "a password"), zkc.WorldACL(zkc.PermWrite)...),
		"f/\u202egnitarcs": append(zkc.DigestACL(zkc.PermAll, "store", "a password"), zkc.ACL{Perms: zkc.PermDelete, Scheme: "ip", ID: "10.0.0.0/8"}),
		"f/closed":         zkc.DigestACL(zkc.PermAll, "somebody", "else"),
	} {
		_, err := c.Create(cfg.Root+"/"+path, nil, 0, acl)
		must(t, err)
	}
	in, err = zk.Inspect(t.Context(), cfg, "read")
	if err != nil || !in.Complete || !in.Record || !in.RecordReadable ||
		in.Readable.Count != 1 || !slices.Equal(in.Readable.Examples, []string{cfg.Root + "/read"}) ||
		in.Writable.Count != 2 || !slices.Contains(in.Writable.Examples, cfg.Root+"/f/write") {
		t.Errorf("with open znodes: %+v, %v", in, err)
	}
	if in, err := b.InspectRoot(t.Context(), "read"); err != nil || !in.Record || !in.RecordReadable || in.Readable.Count != 1 {
		t.Errorf("of ROOT, with an open record: %+v, %v", in, err)
	}
}

// TestInspectionIsBounded: a writer may have made any number of znodes. The record is
// looked at in any case.
func TestInspectionIsBounded(t *testing.T) {
	t.Parallel()
	cfg := config(t, zk.SharedServer(t))
	b := open(t, cfg)
	for _, key := range []store.Key{"a/a", "a/b", "a/c", "b/a", "z/k"} {
		create(t, b, key, "x")
	}
	all, err := zk.InspectAtMost(t.Context(), cfg, "z/k", 1000)
	if err != nil || !all.Complete || all.Looked < 9 {
		t.Fatalf("%+v, %v", all, err)
	}
	for limit := 1; limit <= all.Looked; limit++ {
		in, err := zk.InspectAtMost(t.Context(), cfg, "z/k", limit)
		if err != nil || in.Looked != limit || in.Complete != (limit == all.Looked) || !in.RecordReadable || len(in.Writable.Examples) > 5 {
			t.Errorf("at most %d of %d: %+v, %v", limit, all.Looked, in, err)
		}
	}
}

func TestInspectionGoesToTheNextMember(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	p := newProxy(t, server)
	p.Refuse(true)
	cfg := config(t, p.Addr(), server)
	if _, err := zk.Inspect(t.Context(), cfg, "f/k"); err != nil {
		t.Error(err)
	}
	cfg.Servers = cfg.Servers[:1]
	if _, err := zk.Inspect(t.Context(), cfg, "f/k"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without one: %v", err)
	}
	if _, err := zk.InspectZnode(t.Context(), cfg, "no path"); !errors.Is(err, zk.ErrConfig) {
		t.Errorf("of no path: %v", err)
	}
}

func TestPasswordOfTheSuperuserIsFound(t *testing.T) {
	t.Parallel()
	weak := zktest.Start(t, zktest.Super(superDigest)).Addr()
	for addr, want := range map[string]zk.Verdict{weak: zk.SuperuserAccepted, zk.SharedServer(t): zk.SuperuserRefused} {
		cfg := config(t, addr)
		if got, err := zk.TrySuperuser(t.Context(), cfg, addr, "super", "secret"); got != want || err != nil {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
		if got, err := zk.TrySuperuser(t.Context(), cfg, addr, "super", "other"); got != zk.SuperuserRefused || err != nil {
			t.Errorf("another password: %v, %v", got, err)
		}
	}
}

// TestClockIsThatOfZooKeeper: both are on this machine.
func TestClockIsThatOfZooKeeper(t *testing.T) {
	t.Parallel()
	b := open(t, config(t, zk.SharedServer(t)))
	if r := b.Clock(); !r.At.IsZero() {
		t.Errorf("before: %+v", r)
	}
	content, end := announce(t, b, nodeID(1))
	defer end()
	content <- []byte("one")
	eventually(t, "a comparison", func() bool { return !b.Clock().At.IsZero() })
	if r := b.Clock(); r.Ahead.Abs() > time.Second {
		t.Errorf("%+v", r)
	}
}

func TestInspectionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := zk.Inspect(ctx, config(t, zk.SharedServer(t)), "f/k"); err == nil {
		t.Error("it looked")
	}
}
