//go:build zookeeper

package seal

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

func zkBackend(t *testing.T, server *zktest.Server) store.Backend {
	b, err := zk.Open(t.Context(), zk.Config{Servers: []string{server.Addr()}, Root: "/secrets", MaxStale: time.Hour, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// TestIdentitiesOnZooKeeper: two servers share identities, hear of each other's
// changes, and go on without ZooKeeper. What is put back in ZooKeeper gives no right.
func TestIdentitiesOnZooKeeper(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	a, key := unsealedOn(t, zkBackend(t, server))
	b := open(t, zkBackend(t, server), false)
	await(t, b, func(st State) bool { return st == StateSealed })
	if _, err := b.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	atA, atB := following(t, a), following(t, b)
	atA.change(t, a, "user/alice=superuser", "user/bob=1")
	alice := iamKey(t, a, "user/alice")
	old := record(t, a.backend, alice)
	atB.await(t, func(d *directory) bool { return d.at == 1 })
	atB.change(t, b, "user/alice=nothing")
	atA.await(t, func(d *directory) bool { return d.at == 2 })
	put(t, a.backend, alice, old)
	want := map[string]string{"user/alice": "nothing", "user/bob": "1"}
	for _, d := range []*directory{atA, atB} {
		d.await(t, func(d *directory) bool { return d.damaged == 1 })
		d.wants(t, want, 1)
	}
	fresh := loadAfresh(t, a, a.backend)
	fresh.wants(t, map[string]string{"user/bob": "1"}, 1)
	server.Stop()
	if err := a.Identities().Check(); err != nil {
		t.Errorf("without ZooKeeper: %v", err)
	}
	atA.wants(t, want, 1)
}
