//go:build zookeeper

package zk_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"secretstore/store"
	"secretstore/store/zk"
)

// TestASnapshotHasNothingThatIsGone deletes a record that was read already, and then
// changes more than the change record repeats: so the snapshot reads everything again,
// and does not find what it has emitted. A record that comes back has its new data.
func TestASnapshotHasNothingThatIsGone(t *testing.T) {
	t.Parallel()
	b := openReady(t, config(t, zk.SharedServer(t)))
	for _, key := range []store.Key{"p/a", "p/gone", "p/folder/gone", "p/back", "q/r"} {
		create(t, b, key, "old")
	}
	remove := func(key store.Key) store.Op {
		node, err := b.Get(t.Context(), key, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		return store.Delete(key, node.Version)
	}
	ops := []store.Op{remove("p/gone"), remove("p/folder/gone"), remove("p/back")}
	got := make(map[store.Key]string)
	first := true
	err := b.Snapshot(t.Context(), store.Snapshot{Below: []store.Key{"p"}}, func(key store.Key, data []byte) error {
		got[key] = string(data)
		if !first {
			return nil
		}
		first = false
		_, err := b.Apply(t.Context(), ops...)
		for i := 0; i < tooMany; i += 300 {
			var other []store.Op
			for j := range 300 {
				other = append(other, store.Create(fmt.Sprintf("q/%d/%d", i, j), []byte("x")))
			}
			_, failed := b.Apply(t.Context(), other...)
			err = errors.Join(err, failed)
		}
		_, failed := b.Apply(t.Context(), store.Create("p/back", []byte("new")))
		return errors.Join(err, failed)
	})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(got, func(_ store.Key, data string) bool { return data == "" })
	if want := map[store.Key]string{"p/a": "old", "p/back": "new"}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
