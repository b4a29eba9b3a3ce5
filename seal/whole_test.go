package seal

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"secretstore/store"
)

// TestASecretKeepsItsHistoryInAnotherStore: versions, numbers, times, author,
// description, labels, a large value, and that it was deleted.
func TestASecretKeepsItsHistoryInAnotherStore(t *testing.T) {
	from, _, _ := unsealed(t)
	keepVersions(from, 5)
	to, _, _ := unsealed(t)
	keepVersions(to, 5)
	ctx := t.Context()
	about := "d"
	for _, name := range []string{"f/a", "f/gone", "large"} {
		first := Change{Kind: Text, Value: []byte("1"), Author: "alice", Description: &about, Labels: &[]string{"l"}}
		if name == "large" {
			first.Value = bytes.Repeat([]byte("x"), 300_000)
		}
		if _, err := from.Create(ctx, path(t, name), first); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"f/a", "f/gone"} {
		for _, value := range []string{"2", "\xff3"} {
			if _, err := from.Update(ctx, path(t, name), Change{Kind: Binary, Value: []byte(value)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := from.DeleteVersion(ctx, path(t, name), 2, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Delete(ctx, path(t, "f/gone"), nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f/a", "f/gone", "large"} {
		want, err := from.Whole(ctx, path(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if w, err := to.CreateWhole(ctx, path(t, name), want); err != nil || w.Version != want.Versions[0].Version {
			t.Fatalf("%s: %+v, %v", name, w, err)
		}
		got, err := to.Whole(ctx, path(t, name))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v, %.500s", name, err, diff)
		}
		before, _ := from.Versions(ctx, path(t, name), store.Latest)
		after, err := to.Versions(ctx, path(t, name), store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range after.Versions {
			if v.ID == before.Versions[i].ID {
				t.Errorf("%s: an ETag of the other store matches", name)
			}
		}
		if _, err := to.CreateWhole(ctx, path(t, name), want); name == "f/gone" {
			wantErr(t, "another deleted secret", err, ErrExists)
		} else {
			wantErr(t, "another secret", err, ErrExists)
		}
	}
	// The secrets are like others: they can be written, undeleted and purged.
	if w, err := to.Update(ctx, path(t, "f/a"), text("4")); err != nil || w.Version != 4 {
		t.Errorf("%+v, %v", w, err)
	}
	_, err := to.Get(ctx, path(t, "f/gone"), store.Latest)
	wantErr(t, "a deleted secret", err, ErrNotFound)
	if w, err := to.Undelete(ctx, path(t, "f/gone")); err != nil || w.Version != 3 {
		t.Errorf("%+v, %v", w, err)
	}
	if got, err := to.GetVersion(ctx, path(t, "f/gone"), 1, store.Latest); err != nil || string(got.Value) != "1" {
		t.Errorf("%q, %v", got.Value, err)
	}
	if err := to.Purge(ctx, path(t, "large"), nil); err != nil {
		t.Error(err)
	}
}

func TestAStoreKeepsNoMoreHistoryThanItsOwn(t *testing.T) {
	s, _, _ := unsealed(t)
	keepVersions(s, 1)
	now := time.Now().Add(-time.Hour)
	w := Whole{Created: now}
	for n := uint64(9); n > 5; n-- {
		w.Versions = append(w.Versions, Value{Version: n, Kind: Text, Value: []byte("v"), Written: now})
	}
	if _, err := s.CreateWhole(t.Context(), path(t, "a"), w); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Versions(t.Context(), path(t, "a"), store.Latest); err != nil || len(v.Versions) != 2 || v.Versions[1].Version != 8 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestImpossibleHistoriesAreRefused(t *testing.T) {
	s, _, _ := unsealed(t)
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	one := func(n uint64) Value { return Value{Version: n, Kind: Text, Value: []byte("v"), Written: past} }
	for name, w := range map[string]Whole{
		"nothing":         {Created: past},
		"no time":         {Versions: []Value{one(1)}},
		"no next version": {Versions: []Value{one(math.MaxUint64)}, Created: past},
		"version 0":       {Versions: []Value{one(0)}, Created: past},
		"rising":          {Versions: []Value{one(1), one(2)}, Created: past},
		"twice":           {Versions: []Value{one(2), one(2)}, Created: past},
		"no kind":         {Versions: []Value{{Version: 1}}, Created: past},
		"future":          {Versions: []Value{one(1)}, Created: future},
		"deleted later":   {Versions: []Value{one(1)}, Created: past, Deleted: future},
		"before 1970":     {Versions: []Value{one(1)}, Created: time.Unix(-1, 0)},
		"written in 9999": {Versions: []Value{{Version: 1, Kind: Text, Written: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}}, Created: past},
	} {
		_, err := s.CreateWhole(t.Context(), path(t, "a"), w)
		wantErr(t, name, err, ErrBadHistory)
	}
	large := Whole{Versions: []Value{one(2), {Version: 1, Kind: Text, Value: make([]byte, 9000)}}, Created: past}
	_, err := s.CreateWhole(t.Context(), path(t, "a"), large)
	wantErr(t, "a large earlier value", err, ErrTooLarge)
}
