//go:build long

package webtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestBrowserKeepsOtherSitesOut visits pages of another site: localhost and 127.0.0.1
// are two.
func TestBrowserKeepsOtherSitesOut(t *testing.T) {
	site := Start(t)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/link":
			fmt.Fprintf(w, `<!DOCTYPE html><a href="%s/ui/keys">x</a>`, site.URL)
		case "/form":
			fmt.Fprintf(w, `<!DOCTYPE html><form method="post" action="%s/ui/sign-out"><button>x</button></form>`, site.URL)
		case "/frame":
			fmt.Fprintf(w, `<!DOCTYPE html><iframe src="%s/ui/sign-in"></iframe>`, site.URL)
		}
	}))
	defer evil.Close()
	elsewhere := strings.Replace(evil.URL, "127.0.0.1", "localhost", 1)
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	// A link leads to the page, although the browser sends no cookie at first.
	tab.Load(chromedp.Navigate(elsewhere + "/link"))
	tab.Follow("a")
	tab.Do(chromedp.WaitVisible(chromedp.CSS(".who")))
	if got := tab.Location(); got != "/ui/keys" {
		t.Errorf("the link leads to %s", got)
	}
	tab.Load(chromedp.Navigate(elsewhere + "/form"))
	if status := tab.Follow("button"); status != http.StatusForbidden {
		t.Errorf("a form of another site: %d", status)
	}
	tab.Go("/ui/")
	if got := tab.Location(); got != "/ui/" {
		t.Errorf("after that, /ui/ leads to %s", got)
	}
	tab.Load(chromedp.Navigate(elsewhere + "/frame"))
	if all := strings.Join(tab.Complaints(), "\n"); !strings.Contains(all, "frame") {
		t.Errorf("a frame was not refused: %q", all)
	}
	// After the sign-out, the back button shows nothing.
	tab.Go("/ui/keys")
	tab.Follow(".who button")
	tab.Load(chromedp.NavigateBack())
	tab.Do(chromedp.WaitVisible(chromedp.CSS("input[name=token]")))
	if text := tab.HTML(); strings.Contains(text, ">root<") {
		t.Errorf("the back button shows %s", text)
	}
}
