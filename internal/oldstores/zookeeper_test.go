//go:build zookeeper

package oldstores_test

import (
	"path"
	"path/filepath"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"github.com/google/go-cmp/cmp"

	"secretstore/internal/oldstores"
	"secretstore/internal/zktest"
	"secretstore/seal"
	"secretstore/store/zk"
)

// TestOldStoresOnZooKeeper opens the stores that an earlier release made on
// ZooKeeper, and compares their layout with that of new stores.
func TestOldStoresOnZooKeeper(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	conn, _, err := zkc.Connect([]string{server.Addr()}, 30*time.Second, zkc.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	connect := func(t *testing.T, root string) *zk.Backend {
		t.Helper()
		b, err := zk.Open(t.Context(), zk.Config{Servers: []string{server.Addr()}, Root: root})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	raw := func(t *testing.T, root string) (all []record) {
		t.Helper()
		var walk func(below string)
		walk = func(below string) {
			data, stat, err := conn.Get(path.Join(root, below))
			if err != nil {
				t.Fatal(err)
			}
			if below != "" && stat.EphemeralOwner == 0 {
				all = append(all, record{below, data})
			}
			children, _, err := conn.Children(path.Join(root, below))
			if err != nil {
				t.Fatal(err)
			}
			for _, child := range children {
				walk(path.Join(below, child))
			}
		}
		walk("")
		return all
	}

	for _, dir := range names(t, "zookeeper") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			root := "/old/" + filepath.Base(dir)
			dump, err := oldstores.ReadDump(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := oldstores.PutZnodes(conn, root, dump); err != nil {
				t.Fatal(err)
			}
			open := func(t *testing.T) (*seal.Store, func()) { return openStore(t, connect(t, root), "") }
			testStore(t, dir, open, func(t *testing.T) []record { return raw(t, root) })
		})
	}

	t.Run("layout", func(t *testing.T) {
		t.Parallel()
		var before, now []record
		for _, dir := range names(t, "zookeeper") {
			dump, err := oldstores.ReadDump(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, z := range dump {
				if z.Path != "keys/bootstrap_user.key" { // takes seconds to make; tests of cmd/secretstore cover it
					before = append(before, record{z.Path, z.Data})
				}
			}
		}
		for root, holders := range map[string][]int{"/new/three": {1, 2, 3}, "/new/one": {4}} {
			makeStore(t, connect(t, root), holders)
			now = append(now, raw(t, root)...)
		}
		if diff := cmp.Diff(shapesOf(before), shapesOf(now)); diff != "" {
			t.Errorf("forms of records (-before +now):\n%s", diff)
		}
	})
}
