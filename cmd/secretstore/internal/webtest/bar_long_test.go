//go:build long

package webtest

import (
	"testing"

	"github.com/chromedp/cdproto/network"
)

// TestBarFollowsTheSeal while a page is open, without loading it again. That is not
// a use of the session, which would otherwise never end.
func TestBarFollowsTheSeal(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	before := tab.cookies()
	Eval[bool](tab, "window.same = true")
	if _, err := root.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	tab.Await("#bar", "The store is sealed")
	if _, err := root.AutoUnseal(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	tab.AwaitGone("#bar p")
	if !Eval[bool](tab, "window.same === true") {
		t.Error("the page was loaded again")
	}
	if after := tab.cookies(); len(before) != 1 || len(after) != 1 || before[0] != after[0] {
		t.Errorf("the bar has used the session: %v, then %v", before, after)
	}
	site.Stop()
	tab.Await("#bar", "The server does not answer")
}

// cookies returns the cookies of the tab.
func (b *Tab) cookies() (all []string) {
	b.t.Helper()
	for _, c := range call(b, network.GetCookies, network.GetCookiesParams{}).Cookies {
		all = append(all, c.Name+"="+c.Value)
	}
	return all
}
