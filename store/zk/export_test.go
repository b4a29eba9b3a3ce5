package zk

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

var roots atomic.Int64

// NewRoot returns a root for one test on a shared server.
func NewRoot() string { return "/test/" + fmt.Sprint(roots.Add(1)) }

// Pausing returns cfg with another maxWritePause.
func Pausing(cfg Config, longest time.Duration) Config {
	cfg.testOnlyLimits.pause = longest
	return cfg
}

var parent sync.Once

// Patient returns cfg with limits that a machine under load meets, for tests of
// what is answered and not of when.
func Patient(cfg Config) Config {
	cfg.testOnlyLimits = limits{call: time.Minute, await: 30 * time.Second, unanswered: 12 * time.Second, pause: 30 * time.Second}
	return cfg
}

// SharedServer returns the address of the server that all tests share which do not
// stop it. Everyone may make roots on it.
func SharedServer(t testing.TB) string {
	t.Helper()
	addr := zktest.Shared(t)
	parent.Do(func() { openOn(t, addr) })
	return addr
}

// openOn returns a backend that follows changes, with its own root.
func openOn(t testing.TB, addr string) *Backend {
	t.Helper()
	return openConfig(t, Patient(Config{Servers: []string{addr}, Root: NewRoot(), MaxStale: time.Minute}))
}

func openConfig(t testing.TB, cfg Config) *Backend {
	t.Helper()
	b, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	for deadline := time.Now().Add(5 * time.Minute); !b.Hears(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no connection to ZooKeeper on which changes are followed")
		}
	}
	return b
}

// Connections is how many connections a backend has.
const Connections = 1 + readers

// Hears says whether b has a connection that hears of changes, so that what is in
// memory counts.
func (b *Backend) Hears() bool { return b.cache.following.Load() != nil }

// RepairACLs does that once more, as after a start.
func (b *Backend) RepairACLs(ctx context.Context) error {
	l, err := b.conns.await(ctx)
	if err != nil {
		return err
	}
	return b.house.repairACLs(ctx, l.Session)
}

// InspectAtMost is Inspect with another limit.
func InspectAtMost(ctx context.Context, cfg Config, record store.Key, limit int) (in Inspection, err error) {
	err = onAMember(ctx, cfg, func(ctx context.Context, s *session.Session) error {
		in, err = inspect(ctx, s, tree.Tree{Root: cfg.Root}, record, limit)
		return err
	})
	return in, err
}
