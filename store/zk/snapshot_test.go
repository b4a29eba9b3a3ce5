//go:build zookeeper

package zk_test

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"secretstore/store"
	"secretstore/store/zk"
)

// TestASnapshotHasNothingThatIsGone deletes a record that was read already, and then
// the change records: so the snapshot reads everything again, and does not find what it
// has emitted. A record that comes back has its new data.
func TestASnapshotHasNothingThatIsGone(t *testing.T) {
	t.Parallel()
	server := zk.SharedServer(t)
	cfg := config(t, server)
	b, c := openReady(t, cfg), raw(t, server)
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
		removeAll(t, c, cfg.Root+"/changes")
		_, failed := b.Apply(t.Context(), store.Create("p/back", []byte("new")))
		for errors.Is(failed, store.ErrUnavailable) { // as long as the change records are missing
			if _, failed = b.Apply(t.Context(), store.Create("p/back", []byte("new"))); errors.Is(failed, store.ErrExists) {
				failed = nil
			}
		}
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

// TestASnapshotReadsAgainOnlyWhatHasChanged has two servers write more meanwhile than
// their change records repeat.
func TestASnapshotReadsAgainOnlyWhatHasChanged(t *testing.T) {
	t.Parallel()
	cfg := config(t, zk.SharedServer(t))
	a, b := openReady(t, cfg), openReady(t, cfg)
	for _, key := range []store.Key{"p/a", "p/b", "p/c"} {
		create(t, a, key, "old")
	}
	create(t, b, "q/r", "old") // b has a change record
	var mu sync.Mutex
	heard := make(map[store.ID]bool)
	a.Changes(t.Context(), func(c store.Changes) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range c.IDs {
			heard[id] = true
		}
	})
	write := func(by *zk.Backend, name string) {
		for i := 0; i < tooMany; i += 300 {
			var ops []store.Op
			for j := range 300 {
				ops = append(ops, store.Create(fmt.Sprintf("q/%s/%d/%d", name, i, j), []byte("x")))
			}
			if i == 0 {
				ops[0] = store.Create("p/new-"+name, []byte("new"))
			}
			if _, err := by.Apply(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the server that reads hears of it", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return heard[store.RecordID(ops[299].Key)]
			})
		}
	}
	emitted := make(map[store.Key]int)
	err := a.Snapshot(t.Context(), store.Snapshot{Below: []store.Key{"p"}}, func(key store.Key, data []byte) error {
		if emitted[key]++; len(emitted) == 1 {
			write(a, "a")
			write(b, "b")
		}
		return nil
	})
	if want := map[store.Key]int{"p/a": 1, "p/b": 1, "p/c": 1, "p/new-a": 1, "p/new-b": 1}; err != nil || !maps.Equal(emitted, want) {
		t.Errorf("%v, want %v; %v", emitted, want, err)
	}
}
