package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"secretstore/store"
)

// TestSnapshotHoldsUpNoWrites, and does not make the file grow by more than what is
// written: while a reader of a backup is slow, no transaction is open.
func TestSnapshotHoldsUpNoWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.db")
	b := openAt(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // how long a write waits if it has to
	defer cancel()
	versions, err := b.Apply(ctx, store.Create("a", []byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	data := make([]byte, 256<<10)
	var before, after int64
	emitted := 0
	err = b.Snapshot(ctx, store.Snapshot{Below: []store.Key{"a"}}, func(store.Key, []byte) error {
		if emitted++; emitted > 1 {
			return nil
		}
		before = size()
		for range 300 {
			if versions, err = b.Apply(ctx, store.Set("a", []byte("y"), versions[0])); err != nil {
				return err
			}
		}
		after = size()
		for i := range 16 << 20 / len(data) { // the file has to be mapped again
			if _, err := b.Apply(ctx, store.Create(fmt.Sprintf("b/%d", i), data)); err != nil {
				return err
			}
			if _, err := b.Get(ctx, "a", store.Latest); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || emitted != 2 { // a as it was, and as it is in the end
		t.Errorf("%d records, %v; want 2", emitted, err)
	}
	if after-before > 1<<20 {
		t.Errorf("300 small writes made the file grow from %d to %d bytes", before, after)
	}
}

// TestSnapshotOfManyChanges: while records are read, more of them change than are read in
// one transaction, and others are made and deleted.
func TestSnapshotOfManyChanges(t *testing.T) {
	const records, size = 40, 512 << 10
	kept := func(i int) store.Key { return fmt.Sprintf("p/kept/%d", i) }
	made := func(turn, i int) store.Key { return fmt.Sprintf("p/made/%d/%d", turn, i) }
	value := func(turn int) []byte { return bytes.Repeat(fmt.Append(nil, turn%10), size) }
	state := func(turn int) map[store.Key]string {
		all := make(map[store.Key]string)
		for i := range records {
			all[kept(i)], all[made(turn, i)] = string(value(turn)), "x"
		}
		return all
	}
	// snapshot makes one while all records change in so many turns.
	snapshot := func(t *testing.T, turns int) (got map[store.Key]string, rounds int, err error) {
		b := openAt(t, filepath.Join(t.TempDir(), "secrets.db"))
		// apply does so many operations in each transaction.
		apply := func(atOnce int, of func(i int) store.Op) (versions []store.Version) {
			for from := 0; from < records; from += atOnce {
				var ops []store.Op
				for i := range atOnce {
					ops = append(ops, of(from+i))
				}
				v, err := b.Apply(t.Context(), ops...)
				if err != nil {
					t.Fatal(err)
				}
				versions = append(versions, v...)
			}
			return versions
		}
		turn := 0
		k := apply(1, func(i int) store.Op { return store.Create(kept(i), value(0)) })
		m := apply(records, func(i int) store.Op { return store.Create(made(0, i), []byte("x")) })
		got = make(map[store.Key]string)
		s := store.Snapshot{Below: []store.Key{"p"}, Again: func(round int) { rounds = round }}
		err = b.Snapshot(t.Context(), s, func(name store.Key, data []byte) error {
			if name == kept(0) && turn < turns {
				turn++
				k = apply(1, func(i int) store.Op { return store.Set(kept(i), value(turn), k[i]) })
				apply(records, func(i int) store.Op { return store.Delete(made(turn-1, i), m[i]) })
				m = apply(records, func(i int) store.Op { return store.Create(made(turn, i), []byte("x")) })
			}
			if delete(got, name); len(data) > 0 {
				got[name] = string(data)
			}
			return nil
		})
		return got, rounds, err
	}
	t.Run("that end", func(t *testing.T) {
		got, rounds, err := snapshot(t, 3)
		if err != nil || rounds < 3 || !maps.Equal(got, state(3)) {
			t.Errorf("%d records after %d rounds, %v; want those of turn 3", len(got), rounds, err)
		}
	})
	t.Run("that do not end", func(t *testing.T) {
		_, rounds, err := snapshot(t, 1000)
		if !errors.Is(err, store.ErrTooManyWrites) || rounds != store.SnapshotRounds+1 {
			t.Errorf("%v after %d rounds", err, rounds)
		}
	})
}
