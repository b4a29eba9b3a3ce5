package acl_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secretstore/acl"
)

var someFolders = []string{"", "a", "a/b", "a/b/c", "a/b/c/d", "a/bc", "a/bcd/e", "ab", "abc/d", "b", "b/x", "c"}

// TestSearchShowsWhatListsShow: a name is shown exactly if a list of its folder,
// or of any folder above, would show it; and a search is refused only where none
// would.
func TestSearchShowsWhatListsShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := of(genGrants().Draw(t, "grants")...)
		who := acl.Principal{UID: rapid.SampledFrom([]string{"u", "u", "u", "v", ""}).Draw(t, "uid")}
		if rapid.IntRange(0, 9).Draw(t, "bound") == 0 {
			who.Service = acl.BindTo(mustService(t, "/a/b"))
		}
		below := rapid.SampledFrom(someFolders).Draw(t, "below")
		d, shown := p.DecideSearch(who, mustFolder(t, below))
		if want := p.Decide(who, acl.Request{Op: acl.SearchNames, Path: mustFolder(t, below)}); d != want {
			t.Fatalf("decided %+v and %+v", d, want)
		}
		lists := func(folder string) bool {
			return p.Decide(who, acl.Request{Op: acl.ListSecrets, Path: mustFolder(t, folder)}).Allowed
		}
		for _, folder := range someFolders {
			if below != "" && folder != below && !strings.HasPrefix(folder, below+"/") {
				continue
			}
			listed := slices.ContainsFunc(someFolders, func(above string) bool {
				return (above == "" || above == folder || strings.HasPrefix(folder, above+"/")) && lists(above)
			})
			if got := shown(mustFolder(t, folder)); got != listed {
				t.Fatalf("names in %q are shown: %v, listed: %v", folder, got, listed)
			}
			if listed && !d.Allowed {
				t.Fatalf("the search below %q is refused, and %q can be listed", below, folder)
			}
		}
	})
}

func TestSearchNeedsSomeListBelow(t *testing.T) {
	p := mustPolicy(t, `
users:
  exact: {"dcos:secrets:list:default:/a/b": [read]}
  wild: {"dcos:secrets:list:default:/a/b*": [full]}
  writes: {"dcos:secrets:list:default:/a/b": [create]}
  reads: {"dcos:secrets:default:/a/b/*": [full]}
`)
	for _, tc := range []struct{ uid, below, reason string }{
		{"exact", "", acl.ReasonGrantedBelow},
		{"exact", "a", acl.ReasonGrantedBelow},
		{"exact", "a/b", acl.ReasonGranted},
		{"exact", "a/b/c", acl.ReasonGranted},
		{"exact", "a/bc", ""},
		{"exact", "b", ""},
		{"wild", "a", acl.ReasonGrantedBelow},
		{"wild", "a/bc", acl.ReasonGranted},
		{"wild", "a/c", ""},
		{"writes", "a", ""},
		{"reads", "", ""},
		{"stranger", "", ""},
	} {
		d, _ := p.DecideSearch(acl.Principal{UID: tc.uid}, mustFolder(t, tc.below))
		if d.Allowed != (tc.reason != "") || d.Allowed && d.Reason != tc.reason || !d.Allowed && d.Reason != acl.ReasonNoPermission {
			t.Errorf("%s below %q: %+v", tc.uid, tc.below, d)
		}
		if d.Resource != "dcos:secrets:list:default:/"+tc.below || d.Action != "read" {
			t.Errorf("%s below %q: it asks for %s on %s", tc.uid, tc.below, d.Action, d.Resource)
		}
	}
}

func mustFolder(t rapid.TB, s string) acl.Path {
	t.Helper()
	p, err := acl.ParseFolder(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
