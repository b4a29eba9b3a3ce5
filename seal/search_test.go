package seal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"secretstore/acl"
	"secretstore/store"
	"secretstore/store/memory"
)

func everyFolder(acl.Path) bool { return true }

// TestSearchAgreesWithList creates secrets at random and grants lists of folders at
// random. What a search finds is what a list of everything has, filtered; and a folder
// shows its entries with the number of names in that list.
func TestSearchAgreesWithList(t *testing.T) {
	for name, b := range map[string]store.Backend{"without a cache": memory.New(), "with a cache": newCaching()} {
		t.Run(name, func(t *testing.T) {
			s, _ := unsealedOn(t, b)
			rapid.Check(t, func(rt *rapid.T) { checkSearches(rt, t.Context(), s) })
		})
	}
}

func checkSearches(t *rapid.T, ctx context.Context, s *Store) {
	component := rapid.SampledFrom([]string{"a", "A-b", "a.b", "B", "aA", "0"})
	paths := rapid.Map(rapid.SliceOfN(component, 1, 4), func(c []string) string { return strings.Join(c, "/") })
	live := rapid.SliceOfNDistinct(paths, 0, 12, rapid.ID[string]).Draw(t, "secrets")
	defer func() {
		for _, p := range live {
			if err := s.Purge(ctx, parsed(t, p), nil); err != nil {
				t.Fatal(err)
			}
		}
	}()
	for _, p := range live {
		if err := errOf(s.Create(ctx, parsed(t, p), text("v"))); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		hidden := rapid.SliceOfN(paths, 0, 3).Draw(t, "hidden")
		shown := func(f acl.Path) bool { return !slices.Contains(hidden, f.String()) }
		under := rapid.OneOf(rapid.Just(""), paths).Draw(t, "folder")
		search := Search{Shown: shown, Text: rapid.OneOf(rapid.SampledFrom([]string{"", "a", "A", "/", "a/b", "B/", "-B", "b/a", "aa/0", "x", "ä"}), paths).Draw(t, "text"),
			Page: Page{Limit: rapid.IntRange(1, 4).Draw(t, "limit"), After: rapid.OneOf(rapid.Just(""), paths, rapid.Just("a/")).Draw(t, "after")}}
		for _, c := range []store.Consistency{store.Cached, store.Latest, store.Cached} {
			list, err := s.List(ctx, parsed(t, under), Page{}, c)
			if err != nil {
				t.Fatal(err)
			}
			names := slices.DeleteFunc(list.Names, func(n string) bool {
				return !shown(parsed(t, strings.Trim(under+"/"+n, "/")).Folder())
			})
			found, err := s.Search(ctx, parsed(t, under), search, c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantFound(names, search), found); diff != "" {
				t.Fatalf("search below %q: %+v: %s", under, search, diff)
			}
			children, err := s.Children(ctx, parsed(t, under), shown, search.Page, c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantChildren(names, search.Page), children); diff != "" {
				t.Fatalf("entries of %q after %q: %s", under, search.After, diff)
			}
		}
	}
}

func wantFound(names []string, s Search) Found {
	want := Found{Names: Names{Names: []string{}}, Total: len(names)}
	for _, n := range names {
		if !strings.Contains(strings.ToLower(n), strings.ToLower(s.Text)) {
			continue
		}
		if want.Matches++; n <= s.After {
			continue
		}
		if len(want.Names.Names) == s.Limit {
			want.Next = want.Names.Names[s.Limit-1]
			continue
		}
		want.Names.Names = append(want.Names.Names, n)
	}
	return want
}

func wantChildren(names []string, pg Page) Children {
	counts := map[string]int{}
	for _, n := range names {
		first, _, below := strings.Cut(n, "/")
		if below {
			counts[first+"/"]++
		} else {
			counts[first] = 0
		}
	}
	want := Children{Entries: []Child{}, Total: len(names)}
	all := []string{}
	for name := range counts {
		if name > pg.After {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	if len(all) > pg.Limit {
		all = all[:pg.Limit]
		want.Next = all[pg.Limit-1]
	}
	for _, name := range all {
		want.Entries = append(want.Entries, Child{Name: name, Secrets: counts[name]})
	}
	return want
}

func TestSearchWithoutPermissionsFindsNothing(t *testing.T) {
	s, _, _ := unsealed(t)
	if err := errOf(s.Create(t.Context(), path(t, "a/b"), text("v"))); err != nil {
		t.Fatal(err)
	}
	got, err := s.Search(t.Context(), acl.Path{}, Search{}, store.Cached)
	if err != nil || got.Total != 0 || got.Matches != 0 || len(got.Names.Names) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	children, err := s.Children(t.Context(), acl.Path{}, nil, Page{}, store.Cached)
	if err != nil || children.Total != 0 || len(children.Entries) != 0 {
		t.Errorf("%+v, %v", children, err)
	}
}

// TestSearchSaysWhatIsMissing: as a list does, and only where the caller may see.
func TestSearchSaysWhatIsMissing(t *testing.T) {
	d := newDamaging(t)
	d.write(t, d.folder+"/"+strings.Repeat("A", 64), "x")
	got, err := d.s.Search(t.Context(), acl.Path{}, Search{Shown: everyFolder}, store.Cached)
	if err != nil || !got.Incomplete || got.Total != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	children, err := d.s.Children(t.Context(), acl.Path{}, everyFolder, Page{}, store.Cached)
	if err != nil || !children.Incomplete {
		t.Errorf("%+v, %v", children, err)
	}
	elsewhere := func(f acl.Path) bool { return f.String() == "g" }
	if got, err = d.s.Search(t.Context(), acl.Path{}, Search{Shown: elsewhere}, store.Cached); err != nil || got.Incomplete || got.Total != 1 {
		t.Errorf("in another folder: %+v, %v", got, err)
	}
}

func TestSearchEndsWithTheSeal(t *testing.T) {
	s, _, _ := unsealed(t)
	if _, err := s.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Search(t.Context(), acl.Path{}, Search{Shown: everyFolder}, store.Cached)
	wantErr(t, "search", err, ErrSealed)
}

// BenchmarkSearch searches 100,000 names that are in memory.
func BenchmarkSearch(b *testing.B) {
	for _, folders := range []int{10, 1000, 50_000} {
		b.Run(fmt.Sprintf("%d folders", folders), func(b *testing.B) {
			s := benchStore(b, newCaching())
			const names = 100_000
			for i := range names {
				p := path(b, fmt.Sprintf("department-%d/Service-%d/database-password-%d", i%10, i%folders, i))
				if _, err := s.Create(b.Context(), p, text("v")); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := s.Search(b.Context(), acl.Path{}, Search{Shown: everyFolder}, store.Cached); err != nil {
				b.Fatal(err) // it puts all names into memory
			}
			search := func(what string, q Search) {
				b.Run(what, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						got, err := s.Search(b.Context(), acl.Path{}, q, store.Cached)
						if err != nil || got.Total != names {
							b.Fatal(got.Total, err)
						}
					}
				})
			}
			search("few match", Search{Text: "WORD-4242", Shown: everyFolder})
			search("all match", Search{Text: "word", Shown: everyFolder})
			b.Run("entries", func(b *testing.B) {
				for b.Loop() {
					if _, err := s.Children(b.Context(), acl.Path{}, everyFolder, Page{}, store.Cached); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
