//go:build long

package webtest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"
)

// maxFirstPage is what a browser may transfer for the first page, in bytes.
const maxFirstPage = 60 << 10

// transfer is what a page has cost: the bytes of each file, and when the browser
// has first painted something, in milliseconds.
type transfer struct {
	Bytes map[string]int
	Paint float64
}

// cost returns the cost of the page that a tab shows.
func (b *Tab) cost() (c transfer, total int) {
	b.t.Helper()
	c = Get(b, chromedp.Evaluate[transfer](`new Promise(done => new PerformanceObserver(painted => {
		const bytes = {};
		for (const kind of ["navigation", "resource"])
			for (const e of performance.getEntriesByType(kind)) bytes[new URL(e.name).pathname] = e.transferSize;
		done({bytes, paint: painted.getEntries()[0].startTime});
	}).observe({type: "paint", buffered: true}))`, chromedp.EvalAwaitPromise))
	for _, n := range c.Bytes {
		total += n
	}
	return c, total
}

// TestFirstPageIsSmall: with nothing in the cache, a browser transfers at most
// 60 KiB for it. The test prints when pages are painted, beside a bare page that
// costs a server nothing: the rest is the time of the browser.
func TestFirstPageIsSmall(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	for i := range 60 {
		put(t, root, fmt.Sprintf("team/app-%02d", i), canary)
	}
	bare := &Site{URL: bareServer(t)}
	for range 9 {
		hello := bare.Open(t, Look{})
		hello.Go("/")
		h, _ := hello.cost()
		cold := site.Open(t, Look{})
		cold.Go("/ui/")
		c, total := cold.cost()
		t.Logf("with an empty cache: a bare page is painted after %.0f ms, the sign-in after %.0f ms: %d bytes, %v", h.Paint, c.Paint, total, c.Bytes)
		if total > maxFirstPage || len(c.Bytes) < 3 {
			t.Errorf("%d bytes for the first page: %v", total, c.Bytes)
		}
	}
	cold := site.Open(t, Look{})
	cold.SignIn("root")
	for _, page := range []string{"/ui/", "/ui/secrets?folder=team", pathTo("secret", "team/app-00")} {
		cold.Go(page)
		c, total := cold.cost()
		t.Logf("%s: %d bytes, painted after %.0f ms", page, total, c.Paint)
		if total > maxFirstPage {
			t.Errorf("%d bytes for %s: %v", total, page, c.Bytes)
		}
	}
}

// bareServer returns the address of a server that has one page, without a style or a
// script.
func bareServer(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, `<!DOCTYPE html><html lang="en"><link rel="icon" href="data:,"><title>Hello</title><p>Hello</p></html>`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
