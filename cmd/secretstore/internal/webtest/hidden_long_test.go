//go:build long

package webtest

import (
	"strings"
	"testing"

	permissions "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// stampValue takes the times of the page's clock at which a value comes into the page
// and leaves it, and looks whether it is there after 31 seconds. Mutations are seen in
// the task that makes them, and timers of the page run in the order in which they are
// due, so a slow machine changes nothing.
const stampValue = `(() => {
	new MutationObserver(() => {
		const there = () => document.querySelector("pre.value") !== null;
		if (there() && !window.valueShown) {
			window.valueShown = performance.now();
			setTimeout(() => { window.valueStays = there(); }, 31000);
		}
		if (!there() && window.valueShown && !window.valueGone) window.valueGone = performance.now();
	}).observe(document, {childList: true, subtree: true});
	return true;
})()`

// TestValueIsGoneAfter30Seconds from the page, and from the clipboard. It waits that
// long: the other tests set the clock of the page forward.
func TestValueIsGoneAfter30Seconds(t *testing.T) {
	site := Start(t)
	put(t, site.As(t, "root"), "a/key", canary)
	hidden := chromedp.WaitVisible(chromedp.CSS(`[aria-label="The value is hidden"]`))
	for name, look := range map[string]Look{"script": {}, "no script": {NoScript: true}} {
		t.Run("shown, "+name, func(t *testing.T) {
			t.Parallel()
			tab := site.Open(t, look)
			tab.SignIn("root")
			tab.Go(pathTo("secret", "a/key"))
			if name == "script" {
				Eval[bool](tab, stampValue)
			}
			tab.Do(chromedp.Click(chromedp.CSS("form[data-show] button")), chromedp.WaitVisible(chromedp.CSS("pre.value")))
			if !strings.Contains(tab.Text("pre.value"), canary) {
				t.Fatalf("not shown: %s", tab.Text("main"))
			}
			tab.Do(hidden)
			if name == "script" {
				tab.await("window.valueStays !== undefined")
				if ms := Eval[float64](tab, "window.valueGone - window.valueShown"); ms < 29_000 || Eval[bool](tab, "window.valueStays") {
					t.Errorf("the value was in the page for %v ms", ms)
				}
			}
			if strings.Contains(tab.HTML(), canary) {
				t.Error("the value stays in the page")
			}
		})
	}
	t.Run("copied", func(t *testing.T) {
		t.Parallel()
		tab := site.Open(t, Look{})
		tab.allowClipboard()
		tab.SignIn("root")
		tab.Go(pathTo("secret", "a/key"))
		tab.Click("form[data-copy] button")
		tab.Await("#copied", "Copied")
		if got := tab.clipboard(); got != canary {
			t.Fatalf("the clipboard has %q", got)
		}
		tab.Await("#copied", "was cleared")
		if got := tab.clipboard(); got != "" {
			t.Errorf("the clipboard has %q after 30 seconds", got)
		}
	})
}

// allowClipboard lets the pages of the tab use the clipboard, as if the user had
// agreed to it.
func (b *Tab) allowClipboard() {
	b.t.Helper()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		p := permissions.SetPermissionParams{Permission: &permissions.PermissionDescriptor{Name: name}, Setting: permissions.PermissionSettingGranted,
			BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID}
		if _, err := chromedp.CallBrowser(b.ctx, permissions.SetPermission, p); err != nil {
			b.t.Fatal(err)
		}
	}
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
}

// clipboard returns what the clipboard has.
func (b *Tab) clipboard() string {
	b.t.Helper()
	return Get(b, chromedp.Evaluate[string]("navigator.clipboard.readText()", chromedp.EvalAwaitPromise))
}

// copied clicks on a button that copies something, and returns that.
func (b *Tab) copied(button string) string {
	b.t.Helper()
	b.Click(button)
	b.Await(button+" + *", "Copied")
	return b.clipboard()
}
