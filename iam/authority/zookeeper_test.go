//go:build zookeeper

package authority_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"secretstore/acl"
	"secretstore/iam"
	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

// TestWithoutZooKeeperItSignsInAndDecidesFromMemory: for --max-stale.
func TestWithoutZooKeeperItSignsInAndDecidesFromMemory(t *testing.T) {
	server := zktest.Start(t)
	z, err := zk.Open(context.Background(), zk.Config{Servers: []string{server.Addr()}, Root: "/iam", MaxStale: 24 * time.Hour, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { z.Close() })
	a := onStore(t, open(t, z), rounds)
	rid := ridOf(t, "dcos:mesos:task:/a")
	addUser(t, a, iam.User{UID: "alice", Hash: cheapHash})
	do(t, a, func(d *iam.Directory) (iam.Change, error) { return d.CreateACL(rid, rid.String(), "", admin()) })
	do(t, a, func(d *iam.Directory) (iam.Change, error) {
		return d.Grant(rid, iam.OfUser("alice"), acl.Read, time.Time{}, admin())
	})
	server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = a.Change(ctx, func(d *iam.Directory) (iam.Change, error) { return d.CreateGroup("g", "", iam.Internal, admin()) })
	if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrOutcomeUnknown) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a change: %v", err)
	}
	if _, err := signIn(t, a, "alice", correct); err != nil {
		t.Errorf("sign-in: %v", err)
	}
	d, err := a.Directory()
	if err != nil || !d.Allows("alice", rid, acl.Read) || d.Allows("alice", rid, acl.Update) {
		t.Errorf("decision: %v", err)
	}
	server.Launch()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err := a.Change(ctx, func(d *iam.Directory) (iam.Change, error) {
			if _, err := d.Group("g2"); err == nil {
				return iam.Change{}, nil
			}
			return d.CreateGroup("g2", "", iam.Internal, admin())
		})
		cancel()
		if err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
