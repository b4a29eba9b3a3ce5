//go:build long

package webtest

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestEveryPageInEveryLook visits all pages, narrow and wide, light and dark, with
// and without script. The browser does not complain, no page is wider than the
// window, no value is in a page before somebody asks for it, what others have
// written stays text, and axe finds nothing that keeps people out.
func TestEveryPageInEveryLook(t *testing.T) {
	site := Start(t, "--audit-log", t.TempDir()+"/audit.log")
	crowded(t, site)
	visited := make(map[string]bool)
	for name, look := range looksOfPages() {
		t.Run(name, func(t *testing.T) {
			before, stranger, root := site.Open(t, look), site.Open(t, look), site.Open(t, look)
			stranger.SignIn("stranger")
			root.SignIn("root")
			for _, page := range slices.Concat(visit(before, look, stopsBeforeSignIn()), visit(stranger, look, stopsOfStranger()), visit(root, look, stopsOfSuperuser(site))) {
				visited[page] = true
			}
		})
	}
	for _, page := range pagesWithGet(t) {
		if !visited[page] {
			t.Errorf("the page %q was not visited", page)
		}
	}
	if _, err := site.As(t, "root").Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, look := range looksOfPages() {
		t.Run("sealed, "+name, func(t *testing.T) {
			tab := site.Open(t, look)
			tab.SignIn("root")
			visit(tab, look, stopsWhileSealed())
		})
	}
}

// pagesWithGet reads the names of the pages in the table of package web.
func pagesWithGet(t *testing.T) (names []string) {
	t.Helper()
	code, err := os.ReadFile("../../../../web/pages.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\{name: "([^"]*)".* get: `).FindAllSubmatch(code, -1) {
		names = append(names, string(m[1]))
	}
	if len(names) < 15 {
		t.Fatalf("only %q were found", names)
	}
	return names
}

// TestKeysReachEverything goes through pages with the tab key: everything that can be
// used has the focus once, in the order of the page, and shows it.
func TestKeysReachEverything(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	put(t, root, "a/key", canary)
	put(t, root, "a/other", canary)
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	for _, page := range []string{"", "secrets?folder=a", "secret?path=a/key", "secret-new", "access", "explain", "keys"} {
		tab.Go("/ui/" + page)
		want := Eval[[]string](tab, `(() => {
			window.label = e => e.tagName + " " + (e.name || "") + " " + (e.getAttribute("aria-label") || e.textContent || e.value || "").trim().slice(0, 40);
			window.all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
				.filter(e => e.type !== "hidden" && e.checkVisibility() && !e.disabled);
			return all.map(label);
		})()`)
		for i, w := range want {
			tab.Do(chromedp.KeyEvent("\t"))
			got := Eval[struct {
				Label string
				Index int
				Shown bool
			}](tab, `(() => {
				const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
				return {label: label(e), index: all.indexOf(e), shown: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 &&
					box.bottom > 0 && box.top < innerHeight};
			})()`)
			if got.Index != i {
				t.Fatalf("%q: after %d tabs, the focus is on %q instead of %q", page, i+1, got.Label, w)
			}
			if !got.Shown {
				t.Errorf("%q: the focus on %q cannot be seen", page, got.Label)
			}
		}
	}
}
