package seal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"secretstore/acl"
	"secretstore/seal/internal/names"
	"secretstore/store"
	"secretstore/store/memory"
)

// caching is a backend that caches listings and reports when they change, like
// the ZooKeeper backend. It returns names in no particular order.
type caching struct {
	store.Backend
	reads atomic.Int64 // calls of Children

	mu       sync.Mutex
	listings map[store.Key]store.Listing // guarded by mu
}

func newCaching() *caching {
	return &caching{Backend: memory.New(), listings: make(map[store.Key]store.Listing)}
}

func (b *caching) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	b.reads.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if list, known := b.listings[key]; known && c == store.Cached {
		return list, nil
	}
	list, err := b.Backend.Children(ctx, key, c)
	if err != nil {
		return list, err
	}
	rand.New(rand.NewPCG(1, uint64(len(key)))).Shuffle(len(list.Names), func(i, j int) {
		list.Names[i], list.Names[j] = list.Names[j], list.Names[i]
	})
	list.Changed = new(atomic.Bool)
	if before, known := b.listings[key]; known {
		before.Changed.Store(true)
	}
	b.listings[key] = list
	return list, nil
}

func (b *caching) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	versions, err := b.Backend.Apply(ctx, ops...)
	for _, op := range ops {
		if op.Kind == store.OpCheck || op.Kind == store.OpSet {
			continue
		}
		for key := op.Key; key != ""; { // parents may be new
			key = key[:max(0, strings.LastIndexByte(key, '/'))]
			if list, known := b.listings[key]; known {
				list.Changed.Store(true)
				delete(b.listings, key)
			}
		}
	}
	return versions, err
}

// TestListsMatchTheModel creates and deletes secrets at random, and compares
// lists and pages with the names that should be in them.
func TestListsMatchTheModel(t *testing.T) {
	for name, b := range map[string]store.Backend{"without a cache": memory.New(), "with a cache": newCaching()} {
		t.Run(name, func(t *testing.T) {
			s, _ := unsealedOn(t, b)
			rapid.Check(t, func(rt *rapid.T) { checkLists(rt, t.Context(), s) })
		})
	}
}

func parsed(t *rapid.T, p string) acl.Path {
	parsed, err := acl.ParseFolder(p)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func checkLists(t *rapid.T, ctx context.Context, s *Store) {
	component := rapid.SampledFrom([]string{"a", "a-b", "a.b", "b", "aa", "0"})
	paths := rapid.Map(rapid.SliceOfN(component, 1, 4), func(c []string) string { return strings.Join(c, "/") })
	live := make(map[string]bool)
	defer func() {
		for p := range live {
			if err := s.Delete(ctx, parsed(t, p), nil); err != nil {
				t.Fatal(err)
			}
		}
	}()
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			p := paths.Draw(t, "path")
			var err error
			if live[p] {
				err = s.Delete(ctx, parsed(t, p), nil)
				delete(live, p)
			} else {
				err = errOf(s.Create(ctx, parsed(t, p), text("v")))
				live[p] = true
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		under := rapid.OneOf(rapid.Just(""), paths).Draw(t, "folder")
		pg := Page{Limit: rapid.IntRange(0, 5).Draw(t, "limit"), After: rapid.OneOf(rapid.Just(""), paths).Draw(t, "after")}
		checkList(t, ctx, s, live, under, pg)
	}
}

func checkList(t *rapid.T, ctx context.Context, s *Store, live map[string]bool, under string, pg Page) {
	want := Names{Names: []string{}}
	for p := range live {
		if name, below := strings.CutPrefix(p, strings.TrimPrefix(under+"/", "/")); below && name > pg.After {
			want.Names = append(want.Names, name)
		}
	}
	slices.Sort(want.Names)
	all := want.Names
	if pg.Limit > 0 && len(all) > pg.Limit {
		want.Names, want.Next = all[:pg.Limit], all[pg.Limit-1]
	}
	for _, c := range []store.Consistency{store.Cached, store.Latest, store.Cached} {
		got, err := s.List(ctx, parsed(t, under), pg, c)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("list of %q, %+v, consistency %d: %s", under, pg, c, diff)
		}
	}
	for n := range 3 { // a few names at a time
		lists := names.NewLists(s.folders, names.Sizes{Whole: n, More: n + 1})
		list, err := lists.OpenList(ctx, parsed(t, under), Page{After: pg.After}, store.Cached)
		if err != nil {
			t.Fatal(err)
		}
		streamed, _ := list.First()
		for !list.Whole() {
			more, err := list.More(ctx)
			if err != nil {
				t.Fatal(err)
			}
			streamed = append(streamed, more...)
		}
		if diff := cmp.Diff(all, streamed); diff != "" {
			t.Fatalf("%d at a time: %s", n+1, diff)
		}
	}
}

func TestUnchangedListIsReadFromMemory(t *testing.T) {
	b := newCaching()
	s, _ := unsealedOn(t, b)
	ctx := t.Context()
	const folders = 20
	for i := range 5 * folders {
		if err := errOf(s.Create(ctx, path(t, fmt.Sprintf("f%d/s%d", i%folders, i)), text("v"))); err != nil {
			t.Fatal(err)
		}
	}
	wantReads := func(what string, want int64, pg Page) {
		t.Helper()
		before := b.reads.Load()
		if _, err := s.List(ctx, acl.Path{}, pg, store.Cached); err != nil {
			t.Fatal(err)
		}
		if got := b.reads.Load() - before; got > want {
			t.Errorf("%s: %d listings were read, want at most %d", what, got, want)
		}
	}
	wantReads("a first page", 1+folders+1, Page{Limit: 2}) // buckets, and one folder
	wantReads("the same page", 0, Page{Limit: 2})
	wantReads("all", folders, Page{})
	wantReads("all again", 0, Page{})
	if err := errOf(s.Create(ctx, path(t, "f7/new"), text("v"))); err != nil {
		t.Fatal(err)
	}
	// The folder, and its bucket, which the create also touched.
	wantReads("after a change", 3, Page{})
	if err := errOf(s.Update(ctx, path(t, "f7/new"), text("w"))); err != nil {
		t.Fatal(err)
	}
	wantReads("after an update", 0, Page{})
}

// TestNamesAreGoneAfterSeal: no name remains cached, and a list under way returns
// no more names.
func TestNamesAreGoneAfterSeal(t *testing.T) {
	s, key := unsealedOn(t, newCaching())
	ctx := t.Context()
	for i := range 10 {
		if err := errOf(s.Create(ctx, path(t, fmt.Sprintf("f%d/s", i)), text("v"))); err != nil {
			t.Fatal(err)
		}
	}
	lists := names.NewLists(s.folders, names.Sizes{Whole: 1, More: 2})
	list, err := lists.OpenList(ctx, acl.Path{}, Page{}, store.Cached)
	if err != nil {
		t.Fatal(err)
	}
	if folders, names := s.folders.Remembered(); folders == 0 || names == 0 {
		t.Fatal("no name was cached: this test proves nothing")
	}
	if more, err := list.More(ctx); err != nil || len(more) != 2 {
		t.Fatalf("More = %q, %v", more, err)
	}
	if _, err := s.Seal(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	_, err = list.More(ctx)
	wantErr(t, "the rest of a list", err, ErrSealed)
	_, err = s.OpenList(ctx, acl.Path{}, Page{}, store.Cached)
	wantErr(t, "a list", err, ErrSealed)
	if folders, names := s.folders.Remembered(); folders != 0 || names != 0 {
		t.Error("names are still cached after a seal")
	}
	if _, err := s.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	// For all the list knows, the keys might now be those of another store.
	_, err = list.More(ctx)
	wantErr(t, "the rest of a list from before a seal", err, store.ErrUnavailable)
}

// TestNameMovedFromAnotherFolderIsDamage moves a name into a folder whose other
// names are cached.
func TestNameMovedFromAnotherFolderIsDamage(t *testing.T) {
	b := newCaching()
	s, _ := unsealedOn(t, b)
	ctx := t.Context()
	for _, p := range []string{"f/a", "g/b"} {
		if err := errOf(s.Create(ctx, path(t, p), text("v"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.List(ctx, acl.Path{}, Page{}, store.Cached); err != nil {
		t.Fatal(err)
	}
	from, err := keyOf(s, path(t, "f/a"))
	if err != nil {
		t.Fatal(err)
	}
	to, err := keyOf(s, path(t, "g/b"))
	if err != nil {
		t.Fatal(err)
	}
	moved := to[:strings.LastIndexByte(to, '/')] + from[strings.LastIndexByte(from, '/'):]
	if _, err := b.Apply(ctx, store.Create(moved, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	names, err := s.List(ctx, acl.Path{}, Page{}, store.Cached)
	if err != nil || !slices.Equal(names.Names, []string{"f/a", "g/b"}) || !names.Incomplete {
		t.Errorf("a list with a moved name: %+v, %v", names, err)
	}
	_, err = s.List(ctx, acl.Path{}, Page{}, store.Latest)
	wantErr(t, "a list with a moved name", err, ErrCorrupt)
}

// hiding is a backend that hides a record from the given number of reads.
type hiding struct {
	store.Backend
	mu    sync.Mutex
	times map[store.Key]int // guarded by mu
}

func (b *hiding) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	b.mu.Lock()
	hide := b.times[key] > 0
	b.times[key]--
	b.mu.Unlock()
	if hide {
		return store.Node{}, store.ErrNotFound
	}
	return b.Backend.Get(ctx, key, c)
}

// TestFolderRecreatedDuringAListIsNotDamage: the list reads the record of the
// folder before it is made again, and the names in it afterwards.
func TestFolderRecreatedDuringAListIsNotDamage(t *testing.T) {
	b := &hiding{Backend: memory.New(), times: make(map[store.Key]int)}
	s, key := unsealedOn(t, b)
	ctx := t.Context()
	if _, err := s.Create(ctx, path(t, "f/a"), text("v")); err != nil {
		t.Fatal(err)
	}
	at, err := s.barrier.Locate(path(t, "f/a"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		times int
		want  error
	}{{2, nil}, {100, ErrCorrupt}} {
		// A seal empties the cache.
		if _, err := s.Seal(ctx, "root"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Unseal(ctx, []byte(key)); err != nil {
			t.Fatal(err)
		}
		b.mu.Lock()
		b.times[at.Folder] = row.times
		b.mu.Unlock()
		names, err := s.List(ctx, acl.Path{}, Page{}, store.Latest)
		if !errors.Is(err, row.want) || row.want == nil && len(names.Names) != 1 {
			t.Errorf("hidden %d times: %v, %v", row.times, names.Names, err)
		}
	}
}
