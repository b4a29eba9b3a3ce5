//go:build long

package webtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestBrowserKeepsOtherSitesOut visits pages of other sites: localhost is another than
// 127.0.0.1, and another port of that has another origin, but gets the cookie.
func TestBrowserKeepsOtherSitesOut(t *testing.T) {
	site := Start(t)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/link":
			fmt.Fprintf(w, `<!DOCTYPE html><a href="%s/ui/keys">x</a>`, site.URL)
		case "/form":
			fmt.Fprintf(w, `<!DOCTYPE html><form method="post" action="%s/ui/sign-out"><button>x</button></form>`, site.URL)
		case "/sign-in":
			fmt.Fprintf(w, `<!DOCTYPE html><form method="post" action="%s/ui/sign-in"><input name="token" value="%s"><button>x</button></form>`, site.URL, site.Token(t, "mallory"))
		case "/frame":
			fmt.Fprintf(w, `<!DOCTYPE html><iframe src="%s/ui/sign-in"></iframe>`, site.URL)
		}
	}))
	defer evil.Close()
	for origin, elsewhere := range map[string]string{"another site": strings.Replace(evil.URL, "127.0.0.1", "localhost", 1), "another port": evil.URL} {
		for name, look := range map[string]Look{"script": {}, "no script": {NoScript: true}} {
			t.Run(origin+", "+name, func(t *testing.T) {
				tab := site.Open(t, look)
				tab.SignIn("root")
				// A link leads to the page, although the browser may send no cookie at first.
				tab.Load(chromedp.Navigate(elsewhere + "/link"))
				tab.Follow("a")
				tab.Do(chromedp.WaitVisible(chromedp.CSS(".who")))
				if got := tab.Location(); got != "/ui/keys" {
					t.Errorf("the link leads to %s", got)
				}
				for _, form := range []string{"/form", "/sign-in"} {
					tab.Load(chromedp.Navigate(elsewhere + form))
					if status := tab.Follow("button"); status != http.StatusForbidden {
						t.Errorf("%s of another origin: %d", form, status)
					}
				}
				tab.Go("/ui/")
				if got := tab.Location(); got != "/ui/" || tab.Text(".who span") != "root" {
					t.Errorf("after that, /ui/ leads to %s", got)
				}
				tab.Load(chromedp.Navigate(elsewhere + "/frame"))
				for all := ""; !strings.Contains(all, "frame"); time.Sleep(20 * time.Millisecond) {
					if all += strings.Join(tab.Complaints(), "\n"); tab.ctx.Err() != nil {
						t.Fatalf("a frame was not refused: %q", all)
					}
				}
				// After the sign-out, the back button shows nothing.
				tab.Go("/ui/keys")
				tab.Follow(".who button")
				tab.Load(chromedp.NavigateBack())
				tab.Do(chromedp.WaitVisible(chromedp.CSS("input[name=token]")))
				if text := tab.HTML(); strings.Contains(text, ">root<") {
					t.Errorf("the back button shows %s", text)
				}
			})
		}
	}
}
