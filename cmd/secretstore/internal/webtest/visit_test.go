//go:build long

package webtest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"golang.org/x/sync/errgroup"

	"secretstore/api/client"
	"secretstore/api/wire"
)

const (
	// canary is in all values, and nowhere else.
	canary = "canary-of-a-value"
	// hostile is in all that can have it, and hostileUID is the name of a user.
	hostile    = hostileUID + "\u202e\u2066\u0007"
	hostileUID = `"'></textarea></title></pre><x-evil onclick=alert(1)><img src=x onerror=alert(1)>{{.}}javascript:alert(1)`
)

// stop is a page that a visit shows, or a state of one.
type stop struct {
	name string
	open func(*Tab, Look)
	// shows: somebody has asked for the value.
	shows bool
	// part: what the script asks for, which is not a whole page.
	part bool
}

// at is the page at an address below /ui/.
func at(address string) stop {
	return stop{name: address, open: func(tab *Tab, _ Look) { tab.Go("/ui/" + address) }}
}

func partAt(address string) stop {
	s := at(address)
	s.part = true
	return s
}

// crowded fills a site with all that its pages can show, written by somebody hostile
// where that is possible.
func crowded(t *testing.T, site *Site) {
	t.Helper()
	root := site.As(t, "root")
	ctx, description, labels := t.Context(), hostile, []string{"prod", hostile}
	if _, err := root.Create(ctx, "team/db", client.Value{Data: []byte(canary), Description: &description, Labels: &labels}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Update(ctx, "team/db", client.Value{Data: []byte("line\n" + canary + hostile)}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Create(ctx, "team/keytab", client.Value{Data: []byte("\xff\x00" + canary), Binary: true}); err != nil {
		t.Fatal(err)
	}
	put(t, root, "team/"+strings.Repeat("long", 50), canary)
	put(t, root, "team/gone", canary)
	if err := root.Delete(ctx, "team/gone"); err != nil {
		t.Fatal(err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range 120 {
		g.Go(func() error {
			_, err := root.Create(gctx, fmt.Sprintf("many/%03d", i), client.Value{Data: []byte(canary)})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	populate(t, root)
	// Attempts that only the audit log remembers.
	for _, uid := range []string{hostileUID, "eve"} {
		if _, err := site.As(t, uid).List(ctx, "team"); err == nil {
			t.Fatal("a stranger may list")
		}
	}
}

// populate makes accounts, groups and grants.
func populate(t *testing.T, root *client.Client) {
	t.Helper()
	ctx, ids, grants := t.Context(), root.Identities(), root.Grants()
	key := publicKey(t)
	until := time.Now().Add(time.Hour)
	for _, err := range []error{
		ids.CreateUser(ctx, "alice", wire.UserCreate{Description: hostile, Password: wire.Password("a long password")}),
		ids.CreateUser(ctx, "deployer", wire.UserCreate{Description: hostile, PublicKey: &key}),
		ids.CreateGroup(ctx, "team", wire.GroupCreate{Description: hostile}),
		ids.AddMember(ctx, "team", "alice"),
		ids.AddMember(ctx, "team", "deployer"),
		grants.Allow(ctx, client.Holder{UID: "alice"}, "read", "dcos:secrets:default:/team/"+strings.Repeat("long", 40), until),
		grants.Allow(ctx, client.Holder{GID: "team"}, "full", "dcos:secrets:default:/team/*", time.Time{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func publicKey(t *testing.T) string {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// stopsOfSuperuser are all pages with content, of a store that is unsealed.
func stopsOfSuperuser(site *Site) []stop {
	q := url.QueryEscape(hostile)
	show := func(tab *Tab, look Look) {
		if look.NoScript {
			tab.Follow("form[data-show] button")
		} else {
			tab.Click("form[data-show] button")
		}
		tab.Do(chromedp.WaitVisible(chromedp.CSS("#value pre.value, #value dl")))
	}
	filled := func(address, field, text, button string) func(*Tab, Look) {
		return func(tab *Tab, _ Look) {
			tab.Go("/ui/" + address)
			tab.Type(field, text)
			tab.Follow(button)
		}
	}
	const definition = `{"id":"/x-evil<b>","env":{"A":{"secret":"a"},"B":{"secret":"b"}},"secrets":{"a":{"source":"team/none"},"b":{"source":"<x-evil>"}}}`
	return []stop{
		at(""),
		at("secrets"), at("secrets?folder=team"), at("secrets?folder=many&after=049"), at("secrets?search=T"), at("secrets?search=" + q), at("secrets?folder=" + q),
		partAt("secrets-rows?search=T"), partAt("secrets-rows?search=" + q), partAt("bar"),
		at("deleted"), at("deleted?folder=" + q),
		at("secret?path=team/db&done=saved"), at("secret?path=team/keytab"), at("secret?path=team/gone"), at("secret?path=team/none"), at("secret?path=" + q),
		{name: "a value that is shown", shows: true, open: func(tab *Tab, look Look) { tab.Go("/ui/secret?path=team/db"); show(tab, look) }},
		{name: "a binary value that is shown", open: func(tab *Tab, look Look) { tab.Go("/ui/secret?path=team/keytab"); show(tab, look) }},
		{name: "a purge without confirmation", open: func(tab *Tab, _ Look) {
			tab.Go("/ui/secret?path=team/db")
			tab.Click("summary")
			tab.Type("[name=confirm]", "yes")
			tab.Follow("details button")
		}},
		at("secret-new?folder=team"), at("secret-new?path=" + q),
		{name: "a secret that cannot be created", open: filled("secret-new", "[name=path]", "/../<x-evil>", "form.wide button")},
		at("secret-edit?path=team/db"),
		{name: "the editor", shows: true, open: func(tab *Tab, _ Look) {
			tab.Go("/ui/secret?path=team/db")
			tab.Follow("form[action=secret-edit] button")
		}},
		{name: "a conflict", shows: true, open: conflict(site)},
		at("secret-compare?path=team/db&from=1&to=2"), at("secret-compare?path=team/db&from=" + q),
		{name: "lines that are shown", shows: true, open: func(tab *Tab, look Look) {
			tab.Go("/ui/secret-compare?path=team/db&from=1&to=2")
			show(tab, look)
		}},
		at("secret-access?path=team/db&uid=alice"), at("secret-access?path=team/db&uid=" + q),
		at("check"),
		{name: "a definition with findings", open: filled("check", "textarea", definition, "main button")},
		{name: "a definition that is not one", open: filled("check", "textarea", hostile, "main button")},
		at("access"), at("access?filter=" + q), at("account?uid=alice"), at("account?uid=deployer"), at("account?uid=" + q), at("group?gid=team"), at("group?gid=" + q),
		{name: "a deletion of an account without confirmation", open: filled("account?uid=alice", "form:has([value=delete]) [name=confirm]", "bob", "form:has([value=delete]) button")},
		at("explain"), at("explain?uid=alice&action=read&path=team/db&service=/team/app"), at("explain?action=read&path=team/db&uid=" + q), at("explain?action=" + q),
		at("keys"), at("servers"), at("audit"), at("audit?filter=" + q), at("unseal"), at("no-such-page"),
		{name: "a deletion that is to be confirmed", open: func(tab *Tab, _ Look) { choose(tab, "team", "team/db") }},
		{name: "a deletion that was done", open: func(tab *Tab, _ Look) {
			root := site.As(tab.t, "root")
			if _, err := root.Create(context.Background(), "bulk/x", client.Value{Data: []byte(canary)}); err != nil {
				tab.t.Fatal(err)
			}
			choose(tab, "bulk", "bulk/x")
			tab.Type("[name=confirm]", "delete 1")
			tab.Follow("main button.danger")
			if err := root.Purge(context.Background(), "bulk/x"); err != nil {
				tab.t.Fatal(err)
			}
		}},
	}
}

// choose chooses a secret of a folder, and asks to delete it.
func choose(tab *Tab, folder, path string) {
	tab.Go("/ui/secrets?folder=" + folder)
	tab.Click(fmt.Sprintf("input[value=%q]", path))
	tab.Follow("button.danger")
}

// conflict saves an editor after somebody else has saved.
func conflict(site *Site) func(*Tab, Look) {
	return func(tab *Tab, _ Look) {
		tab.Go("/ui/secret?path=team/db")
		tab.Follow("form[action=secret-edit] button")
		if _, err := site.As(tab.t, "root").Update(context.Background(), "team/db", client.Value{Data: []byte("line\n" + canary + hostile)}); err != nil {
			tab.t.Fatal(err)
		}
		tab.Follow("form.wide button")
	}
}

// stopsOfStranger are pages for somebody without permissions.
func stopsOfStranger() []stop {
	return []stop{
		at(""), at("secrets"), at("deleted"), at("secret?path=team/db"), at("secret-edit?path=team/db"), at("secret-access?path=team/db"),
		at("explain?action=read&path=team/db"), at("access"), at("keys"), at("servers"), at("audit"),
	}
}

// stopsBeforeSignIn are pages for everybody.
func stopsBeforeSignIn() []stop {
	return []stop{
		at("sign-in"), at("sign-out"), at("sign-out?done=cluster-signed-out"),
		{name: "a sign-in that is refused", open: func(tab *Tab, _ Look) {
			tab.Go("/ui/sign-in")
			tab.Type("[name=token]", "<x-evil>")
			tab.Follow("form:has([name=token]) button")
		}},
	}
}

// stopsWhileSealed are pages of a store that is sealed.
func stopsWhileSealed() []stop {
	return []stop{
		at(""), at("secrets"), at("secret?path=team/db"), at("keys"), at("servers"), at("unseal"),
		{name: "a share that is wrong", open: func(tab *Tab, _ Look) {
			tab.Go("/ui/unseal")
			tab.Type("[name=share]", "<x-evil>")
			tab.Follow("form:has([name=share]) button")
		}},
	}
}

// looksOfPages are the looks in which pages are visited, with names for subtests.
func looksOfPages() map[string]Look {
	all := make(map[string]Look)
	for _, width := range []int64{360, 1440} {
		for _, dark := range []bool{false, true} {
			for _, noScript := range []bool{false, true} {
				name := fmt.Sprintf("%d wide", width)
				if dark {
					name += ", dark"
				}
				if noScript {
					name += ", no script"
				}
				all[name] = Look{Width: width, Dark: dark, NoScript: noScript}
			}
		}
	}
	return all
}

// visit opens pages one after the other, and checks each. It returns the names of
// the pages.
func visit(tab *Tab, look Look, stops []stop) (names []string) {
	tab.t.Helper()
	for _, s := range stops {
		s.open(tab, look)
		at, _ := url.Parse(tab.Location())
		names = append(names, strings.TrimPrefix(at.Path, "/ui/"))
		Eval[bool](tab, `document.querySelectorAll("details").forEach(d => d.open = true), true`)
		if html := tab.HTML(); strings.Contains(html, canary) && !s.shows {
			tab.t.Errorf("%s: the value is in the page", s.name)
		}
		for _, trouble := range Eval[[]string](tab, strangers) {
			tab.t.Errorf("%s: %s", s.name, trouble)
		}
		if wide := Eval[int](tab, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 && !s.part {
			tab.t.Errorf("%s: the page is %d px wider than the window", s.name, wide)
		}
		if !s.part && !look.NoScript { // axe waits by timers, and the pages are the same
			all, answered := violations(tab)
			if !answered {
				tab.t.Logf("%s at %s: axe does not answer, and is asked again", s.name, tab.Location())
				s.open(tab, look)
				all, answered = violations(tab)
			}
			if !answered {
				tab.t.Errorf("%s at %s: axe does not answer", s.name, tab.Location())
			}
			for _, v := range all {
				tab.t.Errorf("%s: %s", s.name, v)
			}
		}
	}
	return names
}

// strangers is a script that returns what content of others has made of a page.
const strangers = `(() => {
	const found = [];
	for (const e of document.querySelectorAll("x-evil, img, iframe, object, embed, style, script:not([src]), [style], [onclick], [onerror]"))
		found.push("an element comes from what is shown: " + e.outerHTML);
	for (const e of document.querySelectorAll("[href], [src], [action], [formaction]"))
		for (const name of ["href", "src", "action", "formaction"])
			if (e.hasAttribute(name) && new URL(e.getAttribute(name), document.baseURI).origin !== location.origin)
				found.push("an address leads elsewhere: " + e.outerHTML);
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = texts.nextNode();) {
		if (!/[\u202a-\u202e\u2066-\u2069]/.test(n.data)) continue;
		let box = n.parentElement;
		while (getComputedStyle(box).display === "inline" && getComputedStyle(box).unicodeBidi === "normal") box = box.parentElement;
		if (box.textContent.trim() !== n.data.trim()) found.push("the direction of a text changes what is beside it: " + box.outerHTML);
	}
	return found;
})()`

// axe is the program that finds what keeps people out. scripts/test-deps installs it.
var axe = sync.OnceValues(func() (string, error) {
	content, err := os.ReadFile("../../../../.axe/node_modules/axe-core/axe.min.js")
	return string(content), err
})

// violations returns what axe finds on a page by the rules of WCAG 2.2 AA, and what
// of its own rules is serious or critical. axe does not answer if the browser leaves the
// page meanwhile, as it may on a machine so busy that a value is hidden again.
func violations(tab *Tab) (all []string, answered bool) {
	tab.t.Helper()
	program, err := axe()
	if err != nil {
		tab.t.Fatalf("axe-core is missing, which scripts/test-deps installs: %v", err)
	}
	Eval[bool](tab, program+"; true")
	type violation struct {
		ID, Impact, Help string
		Tags             []string
		Nodes            []struct{ HTML, FailureSummary string }
	}
	ctx, cancel := context.WithTimeout(tab.ctx, patience/8)
	defer cancel()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]violation](`axe.run({resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(r => r.violations)`, chromedp.EvalAwaitPromise))
	switch {
	case errors.Is(err, context.DeadlineExceeded) && tab.ctx.Err() == nil:
		return nil, false
	case err != nil:
		tab.t.Fatal(err)
	}
	for _, v := range found {
		ofWCAG := regexp.MustCompile(`wcag\d+a`).MatchString(strings.Join(v.Tags, " "))
		if ofWCAG || v.Impact == "serious" || v.Impact == "critical" {
			for _, n := range v.Nodes[:min(len(v.Nodes), 3)] {
				all = append(all, fmt.Sprintf("axe, %s, %s (%s): %s\n%s", v.Impact, v.ID, v.Help, n.HTML, n.FailureSummary))
			}
		}
	}
	return all, true
}
