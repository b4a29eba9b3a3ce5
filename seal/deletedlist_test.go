package seal

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/records"
	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/memory"
)

// allDeleted returns the deleted secrets below a folder, read in pages.
func allDeleted(ctx context.Context, s *Store, folder acl.Path, limit int, c store.Consistency) (all []string, err error) {
	for after := ""; ; {
		page, err := s.ListDeleted(ctx, folder, Page{After: after, Limit: limit}, c)
		if err != nil || page.Incomplete {
			return all, err
		}
		all = append(all, page.Names...)
		if page.Next == "" {
			return all, nil
		}
		after = page.Next
	}
}

// TestDeletedSecretsAreListed creates, deletes, restores and purges secrets at
// random, and compares the list with those that Undelete would bring back.
func TestDeletedSecretsAreListed(t *testing.T) {
	file, err := bolt.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	for name, b := range map[string]store.Backend{"memory": memory.New(), "with a cache": newCaching(), "bolt": file} {
		t.Run(name, func(t *testing.T) {
			s, _ := unsealedOn(t, b)
			rapid.Check(t, func(rt *rapid.T) { checkDeletedList(rt, t.Context(), s) })
		})
	}
}

func checkDeletedList(t *rapid.T, ctx context.Context, s *Store) {
	component := rapid.SampledFrom([]string{"a", "a-b", "b", "0"})
	paths := rapid.Map(rapid.SliceOfN(component, 1, 3), func(c []string) string { return strings.Join(c, "/") })
	live, deleted := make(map[string]bool), make(map[string]bool)
	defer func() {
		for _, all := range []map[string]bool{live, deleted} {
			for p := range all {
				if err := s.Purge(ctx, parsed(t, p), nil); err != nil {
					t.Fatal(err)
				}
				delete(deleted, p)
			}
		}
	}()
	for range rapid.IntRange(1, 25).Draw(t, "changes") {
		p := paths.Draw(t, "path")
		var err error
		switch step := rapid.SampledFrom([]string{"delete", "delete", "restore", "purge"}).Draw(t, "step"); {
		case !live[p] && (step == "delete" || !deleted[p]):
			_, err = s.Create(ctx, parsed(t, p), text("v"))
			live[p] = true
		case step == "purge":
			err = s.Purge(ctx, parsed(t, p), nil)
			delete(live, p)
			delete(deleted, p)
		case live[p]:
			err = s.Delete(ctx, parsed(t, p), nil)
			delete(live, p)
			deleted[p] = true
		default:
			_, err = s.Undelete(ctx, parsed(t, p))
			delete(deleted, p)
			live[p] = true
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	folder := rapid.OneOf(rapid.Just(""), paths).Draw(t, "folder")
	var want []string
	for p := range deleted {
		if name, below := strings.CutPrefix(p, strings.TrimPrefix(folder+"/", "/")); below && !live[p] {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		got, err := allDeleted(ctx, s, parsed(t, folder), rapid.IntRange(0, 3).Draw(t, "limit"), c)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("deleted below %q, consistency %d: %s", folder, c, diff)
		}
	}
}

// TestExpiredSecretsAreNotListed: whether or not the collector has removed them.
func TestExpiredSecretsAreNotListed(t *testing.T) {
	s, _, _ := unsealed(t)
	ctx, now := t.Context(), time.Now()
	createAll(t, s, map[string]Change{"f/expired": text("v"), "f/soon": text("v")})
	for p, ago := range map[string]time.Duration{"f/expired": UndeleteFor + time.Minute, "f/soon": UndeleteFor - time.Hour} {
		if err := records.DeleteAt(ctx, s.Secrets, path(t, p), nil, now.Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	for _, collected := range []bool{false, true} {
		got, err := allDeleted(ctx, s, acl.Path{}, 0, store.Cached)
		if err != nil || !slices.Equal(got, []string{"f/soon"}) {
			t.Errorf("collected %v: %q, %v", collected, got, err)
		}
		if err := s.collector.Expire(ctx, map[store.Key]time.Time{}, now); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNamesOfDeletedSecretsAreGoneAfterSeal: none remains cached.
func TestNamesOfDeletedSecretsAreGoneAfterSeal(t *testing.T) {
	s, _ := unsealedOn(t, newCaching())
	ctx := t.Context()
	create(t, s, path(t, "f/a"), "v")
	if err := s.Delete(ctx, path(t, "f/a"), nil); err != nil {
		t.Fatal(err)
	}
	if got, err := allDeleted(ctx, s, acl.Path{}, 0, store.Cached); err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if folders, names := s.deleted.Remembered(); folders == 0 || names == 0 {
		t.Fatal("no name was cached: this test proves nothing")
	}
	if _, err := s.Seal(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if folders, names := s.deleted.Remembered(); folders != 0 || names != 0 {
		t.Error("names are still cached after a seal")
	}
	_, err := s.ListDeleted(ctx, acl.Path{}, Page{}, store.Cached)
	wantErr(t, "a list of a sealed store", err, ErrSealed)
}

// TestDamagedDeletedSecretHidesNoOther: the list says that it is incomplete, and a
// linearizable one fails.
func TestDamagedDeletedSecretHidesNoOther(t *testing.T) {
	d := newDamaging(t)
	ctx := t.Context()
	for _, p := range []string{"f/a", "f/b", "g/d"} {
		if err := d.s.Delete(ctx, path(t, p), nil); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, want []string) {
		t.Helper()
		got, err := d.s.ListDeleted(ctx, acl.Path{}, Page{}, store.Cached)
		if err != nil || !slices.Equal(got.Names, want) || !got.Incomplete {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
		_, err = d.s.ListDeleted(ctx, acl.Path{}, Page{}, store.Latest)
		wantErr(t, what, err, ErrCorrupt)
	}
	undo := d.replace(t, barrier.DeletedKey(d.secret), func(data []byte) []byte { data[len(data)-1] ^= 1; return data })
	check("a tombstone that does not open", []string{"f/b", "g/d"})
	undo()
	undo = d.write(t, barrier.DeletedKey(d.folder)+"/"+strings.Repeat("B", 63)+"A", "x")
	check("a name that does not open", []string{"f/a", "f/b", "g/d"})
	undo()
	if got, err := d.s.ListDeleted(ctx, acl.Path{}, Page{}, store.Cached); err != nil || got.Incomplete || len(got.Names) != 3 {
		t.Errorf("after the repair: %+v, %v", got, err)
	}
}

// TestEveryDeletedSecretCanBeRead, for those who check a backup: also one that has expired,
// and one in whose place another was created.
func TestEveryDeletedSecretCanBeRead(t *testing.T) {
	ctx := t.Context()
	s, _, _ := unsealed(t)
	for name, ago := range map[string]time.Duration{"a/expired": UndeleteFor, "a/gone": 0, "a/again": 0} {
		create(t, s, path(t, name), "old")
		if err := records.DeleteAt(ctx, s.Secrets, path(t, name), nil, time.Now().Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	create(t, s, path(t, "a/again"), "new")
	all, err := s.ListAllDeleted(ctx)
	if err != nil || !slices.Equal(all.Names, []string{"a/again", "a/expired", "a/gone"}) {
		t.Fatalf("%q, %v", all.Names, err)
	}
	for _, name := range all.Names {
		if w, err := s.WholeDeleted(ctx, path(t, name)); err != nil || string(w.Versions[0].Value) != "old" || w.Deleted.IsZero() {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
	_, err = s.WholeDeleted(ctx, path(t, "a/other"))
	wantErr(t, "never deleted", err, ErrNotFound)
}
