package webtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"secretstore/internal/zktest"
)

// Tab is a window of Chromium with cookies and a cache that no other has.
type Tab struct {
	t    testing.TB
	ctx  context.Context
	site *Site

	mu         sync.Mutex
	complaints []string // of the browser; guarded by mu
}

// patience is how long a test waits for what must happen. It only bounds tests that
// fail.
const patience = 20 * time.Minute

// browser is the one Chromium of the process. It ends with the process.
var browser = sync.OnceValues(func() (context.Context, error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(patience))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	return ctx, chromedp.Do(ctx)
})

// Main runs the tests of a package that uses tabs, and ends Chromium after them.
// TestMain calls it.
func Main(m *testing.M) {
	code := zktest.Main{M: m}.Run()
	if ctx, err := browser(); err == nil {
		_ = chromedp.Cancel(ctx) // it ends with this process in any case
	}
	os.Exit(code)
}

// Look is how a tab shows pages.
type Look struct {
	Width    int64 // in pixels; 0 is 1,440
	Dark     bool
	NoScript bool
}

// Open returns a new tab. It fails the test at its end if the browser complained
// about anything, such as what the policy of a page forbids.
func (s *Site) Open(t testing.TB, look Look) *Tab {
	t.Helper()
	base, err := browser()
	if err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	ctx, cancel := chromedp.NewContext(base, chromedp.WithNewBrowserContext())
	ctx, cancelTime := context.WithTimeout(ctx, patience)
	tab := &Tab{t: t, ctx: ctx, site: s}
	t.Cleanup(func() {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, c := range tab.complaints {
			t.Errorf("the browser complains: %s", c)
		}
		if t.Failed() {
			tab.keepScreenshot()
		}
		cancelTime()
		cancel()
	})
	if err := chromedp.Listen(ctx, tab.listen); err != nil {
		t.Fatal(err)
	}
	if look.Width == 0 {
		look.Width = 1440
	}
	scheme := "light"
	if look.Dark {
		scheme = "dark"
	}
	call(tab, log.Enable, cdp.Empty{})
	call(tab, runtime.Enable, cdp.Empty{})
	call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: look.Width, Height: 900, DeviceScaleFactor: 1})
	call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: look.NoScript})
	return tab
}

// call runs a command of the DevTools protocol.
func call[P, R any](b *Tab, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	r, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// listen notes what the browser complains about.
func (b *Tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		// A page that says that something is refused has that status.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			b.complaints = append(b.complaints, string(e.Entry.Source)+": "+e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text+": "+e.ExceptionDetails.Exception.Description)
	case *runtime.EventConsoleAPICalled:
		for _, a := range e.Args {
			b.complaints = append(b.complaints, "console: "+string(a.Value))
		}
	}
}

// Complaints returns what the browser complained about since the last call. The test
// does not fail for it.
func (b *Tab) Complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.complaints
	b.complaints = nil
	return all
}

// keepScreenshot writes what the tab shows to the folder WEBTEST_SCREENSHOTS.
func (b *Tab) keepScreenshot() {
	if dir := os.Getenv("WEBTEST_SCREENSHOTS"); dir != "" {
		b.Screenshot(filepath.Join(dir, strings.ReplaceAll(b.t.Name(), "/", "-")+".png"))
	}
}

// Do runs actions of chromedp.
func (b *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	for _, a := range actions {
		Get(b, a)
	}
}

// Get runs an action of chromedp that returns something.
func Get[T any](b *Tab, action chromedp.Action[T]) T {
	b.t.Helper()
	for {
		v, err := chromedp.Run(b.ctx, action)
		if err == nil {
			return v
		}
		if !foundInOldDocument(err) {
			b.t.Fatal(err)
		}
	}
}

// foundInOldDocument reports whether an action did nothing because the browser
// replaced the document after the action had found its element. Elements have numbers
// that end with their document, and a page may have loaded before chromedp has heard
// that the document is another.
func foundInOldDocument(err error) bool {
	e := new(cdproto.Error)
	// "No node with given id found", "Could not find node with given id"
	return errors.As(err, &e) && strings.Contains(e.Message, "node with given id")
}

// Go opens a page of the site, such as /ui/, and returns its status.
func (b *Tab) Go(path string) int {
	b.t.Helper()
	return b.Load(chromedp.Navigate(b.site.URL + path))
}

// Load does something that loads a page, waits for it, and returns its status.
func (b *Tab) Load(actions ...chromedp.Action[chromedp.Void]) int {
	b.t.Helper()
	res, err := chromedp.RunResponse(b.ctx, actions...)
	for foundInOldDocument(err) {
		res, err = chromedp.RunResponse(b.ctx, actions...)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if res == nil {
		return 0
	}
	return int(res.Status)
}

// Follow clicks on a link or button that loads a page, and returns its status.
// Selectors are those of CSS here and in the other methods.
func (b *Tab) Follow(selector string) int {
	b.t.Helper()
	return b.Load(chromedp.Click(chromedp.CSS(selector)))
}

// Click clicks on something that loads no page.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	b.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Type types a text into a field.
func (b *Tab) Type(selector, text string) {
	b.t.Helper()
	b.Do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Paste puts a text into a field at once: a page that searches while somebody types
// then searches for all of it only, and does not change any more after that.
func (b *Tab) Paste(selector, text string) {
	b.t.Helper()
	b.Do(chromedp.Focus(chromedp.CSS(selector)))
	call(b, input.InsertText, input.InsertTextParams{Text: text})
}

// Text returns the text of the first element that matches, as a person sees it.
func (b *Tab) Text(selector string) string {
	b.t.Helper()
	return Get(b, chromedp.Text(chromedp.CSS(selector)))
}

// HTML returns the whole document as it is now.
func (b *Tab) HTML() string {
	b.t.Helper()
	return Get(b, chromedp.OuterHTML(chromedp.CSS("html")))
}

// Await waits until the first element that matches has a text, on this page or on one
// to which it leads by itself.
func (b *Tab) Await(selector, text string) {
	b.t.Helper()
	b.await(fmt.Sprintf("document.querySelector(%q)?.innerText.includes(%q) === true", selector, text))
}

// AwaitGone waits until no element matches.
func (b *Tab) AwaitGone(selector string) {
	b.t.Helper()
	b.await(fmt.Sprintf("document.querySelector(%q) === null", selector))
}

// await waits until an expression of JavaScript is true. It asks again and again: what
// would wait in the page ends with that, and does not run without script.
func (b *Tab) await(expression string) {
	b.t.Helper()
	for ; ; time.Sleep(20 * time.Millisecond) {
		yes, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		if yes {
			return
		}
		// The browser has no page to ask while it goes to another.
		if gone := new(cdproto.Error); err != nil && (!errors.As(err, &gone) || b.ctx.Err() != nil) {
			b.t.Fatalf("%s: %v", expression, err)
		}
	}
}

// Eval returns the value of an expression of JavaScript in the page.
func Eval[T any](b *Tab, expression string) T {
	b.t.Helper()
	return Get(b, chromedp.Evaluate[T](expression))
}

// Location returns the address of the page, without that of the site.
func (b *Tab) Location() string {
	b.t.Helper()
	return strings.TrimPrefix(Get(b, chromedp.Location()), b.site.URL)
}

// Screenshot writes a picture of the whole page to a PNG file.
func (b *Tab) Screenshot(file string) {
	b.t.Helper()
	if err := os.WriteFile(file, Get(b, chromedp.FullScreenshot(100)), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// SignIn signs a user in with a token.
func (b *Tab) SignIn(uid string) {
	b.t.Helper()
	b.Go("/ui/sign-in")
	b.Type("input[name=token]", b.site.Token(b.t, uid))
	b.Follow("form:has(input[name=token]) button")
	if got := b.Location(); got != "/ui/" {
		b.t.Fatalf("the sign-in leads to %s: %s", got, b.Text("main"))
	}
}
