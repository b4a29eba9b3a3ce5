package bolt_test

import (
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/storetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// A goroutine that ends a read while another meets a fault inside bbolt
		// waits forever for bbolt's lock. No caller waits for that goroutine.
		goleak.IgnoreAnyFunction("go.etcd.io/bbolt.(*DB).removeTx"),
	)
}

func open(t *testing.T) store.Backend {
	return openAt(t, filepath.Join(t.TempDir(), "secrets.db"))
}

func openAt(t testing.TB, path string) *bolt.Backend {
	t.Helper()
	b, err := bolt.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestBoltKeepsTheContract(t *testing.T) { storetest.Run(t, open) }

func TestBoltAgreesWithTheModel(t *testing.T) { storetest.RunModel(t, open) }

// TestListingIsCurrentUntilItsNamesChange, whatever the depth of the record that is
// made or deleted.
func TestListingIsCurrentUntilItsNamesChange(t *testing.T) {
	b := open(t)
	list := func(key store.Key) store.Listing {
		l, err := b.Children(t.Context(), key, store.Cached)
		if err != nil || !l.Current() {
			t.Fatalf("the listing of %q is not current: %v", key, err)
		}
		return l
	}
	apply := func(ops ...store.Op) store.Version {
		versions, err := b.Apply(t.Context(), ops...)
		if err != nil {
			t.Fatal(err)
		}
		return versions[len(versions)-1]
	}
	v := apply(store.Create("a/b/c/d", []byte("x")))
	for _, row := range []struct {
		op      func() store.Op
		changed string
	}{
		{func() store.Op { return store.Set("a/b/c/d", []byte("y"), v) }, ""},
		{func() store.Op { return store.Create("a/b/c", []byte("x")) }, " a a/b"},
		{func() store.Op { return store.Create("a/b/c/e", []byte("x")) }, "a/b/c"},
		{func() store.Op { return store.Create("a/x", []byte("x")) }, "a"},
		{func() store.Op { return store.Ensure("a/x", []byte("z")) }, ""},
		{func() store.Op { return store.Delete("a/x", v) }, "a"},
		{func() store.Op { return store.Create("p/q/r", []byte("x")) }, " p p/q"},
	} {
		var before []store.Listing
		keys := strings.Split(row.changed, " ")
		if row.changed == "" {
			keys = []string{"", "a", "a/b/c"}
		}
		for _, key := range keys {
			before = append(before, list(key))
		}
		op := row.op()
		if op.Kind == store.OpDelete {
			n, err := b.Get(t.Context(), op.Key, store.Latest)
			if err != nil {
				t.Fatal(err)
			}
			op.Version = n.Version
		}
		names := list("a/b/c").Names
		apply(op)
		for i, l := range before {
			if row.changed != "" && l.Current() {
				t.Errorf("after %v of %s, the listing of %q is still current", op.Kind, op.Key, keys[i])
			}
			if row.changed == "" && !l.Current() {
				t.Errorf("after %v of %s, which changes no names, a listing is not current", op.Kind, op.Key)
			}
		}
		if op.Key == "a/b/c/e" && len(list("a/b/c").Names) != len(names)+1 {
			t.Error("the new name is not listed")
		}
	}
}
