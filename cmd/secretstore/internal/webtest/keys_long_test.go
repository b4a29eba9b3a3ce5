//go:build long

package webtest

import (
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestKeysSearchChooseAndOpen finds a secret without a mouse.
func TestKeysSearchChooseAndOpen(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	// The last is found until all has been typed.
	for _, p := range []string{"a/alpha", "a/beta", "b/alpha", "b/lp"} {
		put(t, root, p, canary)
	}
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	tab.Go("/ui/secrets")
	// As a keyboard sends it: chromedp would send the character by itself, too.
	call(tab, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/"})
	call(tab, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyUp, Key: "/", Code: "Slash"})
	if got := Eval[string](tab, "document.activeElement.name"); got != "search" {
		t.Fatalf("after /, the focus is on %q", got)
	}
	tab.Do(chromedp.KeyEvent("LPH"))
	if got := Eval[string](tab, "document.querySelector('input[type=search]').value"); got != "LPH" {
		t.Fatalf("the field has %q", got)
	}
	tab.Await("#rows", "2 of 4 secrets")
	press := func(key string) { t.Helper(); tab.Do(chromedp.KeyEvent(key)) }
	focus := func(want string) {
		t.Helper()
		if got := Eval[string](tab, "document.activeElement.name || document.activeElement.textContent"); got != want {
			t.Fatalf("the focus is on %q, not on %q", got, want)
		}
	}
	press(kb.ArrowDown)
	focus("a/alpha")
	press(kb.ArrowDown)
	focus("b/alpha")
	press(kb.ArrowDown)
	focus("b/alpha")
	press(kb.ArrowUp)
	press(kb.ArrowUp)
	focus("search")
	press(kb.ArrowDown)
	tab.Load(chromedp.KeyEvent(kb.Enter))
	if got := tab.Text("h1"); got != "a/alpha" {
		t.Fatalf("Enter leads to %q", got)
	}
}
