//go:build long

package webtest

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"secretstore/api/client"
)

// looks are how people see the pages.
var looks = map[string]Look{
	"wide, light":                {},
	"narrow, dark, no script":    {Width: 360, Dark: true, NoScript: true},
	"wide, light, no script":     {NoScript: true},
	"narrow, dark, with scripts": {Width: 360, Dark: true},
}

// put writes a secret with the client of a user.
func put(t *testing.T, c *client.Client, path, value string) {
	t.Helper()
	if _, err := c.Create(t.Context(), path, client.Value{Data: []byte(value)}); err != nil {
		t.Fatal(err)
	}
}

// valueOf returns a value, or why there is none.
func valueOf(t *testing.T, c *client.Client, path string) string {
	t.Helper()
	s, err := c.Get(t.Context(), path, client.GetOptions{Latest: true})
	if err != nil {
		return err.Error()
	}
	return string(s.Value)
}

func pathTo(page, path string) string { return "/ui/" + page + "?path=" + url.QueryEscape(path) }

// TestSecretIsCreatedFoundChangedAndRestored goes the way of somebody who has never
// seen the pages.
func TestSecretIsCreatedFoundChangedAndRestored(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	n := 0
	for name, look := range looks {
		n++
		t.Run(name, func(t *testing.T) {
			path := fmt.Sprintf("team%d/db/password", n)
			tab := site.Open(t, look)
			tab.SignIn("root")
			tab.Go("/ui/secrets?folder=" + url.QueryEscape(fmt.Sprintf("team%d/db", n)))
			tab.Follow(`a[href^="secret-new"]`)
			tab.Type("input[name=path]", kb.End+"password")
			tab.Type("textarea[name=value]", "\n<b>canary</b>\n")
			tab.Type("textarea[name=description]", "of the & database")
			tab.Follow("main form.wide button")
			if got := valueOf(t, root, path); got != "\n<b>canary</b>\n" {
				t.Fatalf("%s is %q: %s", path, got, tab.Text("main"))
			}
			if html := tab.HTML(); strings.Contains(html, "canary") || !strings.Contains(html, "Created.") {
				t.Fatalf("after the create: %s", tab.Text("main"))
			}
			if kept := strings.Contains(tab.Location(), "done="); kept != look.NoScript {
				t.Errorf("the notice would be shown again: %t, at %s", kept, tab.Location())
			}

			tab.Go("/ui/secrets")
			tab.Paste("input[type=search]", fmt.Sprintf("TEAM%d/db/p", n))
			if look.NoScript {
				tab.Follow("form[role=search] button")
			}
			tab.Await("#rows", fmt.Sprintf("1 of %s", plural(n)))
			tab.Follow("a[data-row]")
			if got := tab.Text("h1"); got != path {
				t.Fatalf("the search leads to %q", got)
			}

			tab.Follow(`form[action="secret-edit"] button`)
			if got := Eval[string](tab, "document.querySelector('textarea[name=value]').value"); !look.NoScript && got != "\n<b>canary</b>\n" {
				t.Fatalf("the editor has %q", got)
			}
			tab.Type("textarea[name=value]", "two")
			tab.Follow("main form.wide button")
			if got := valueOf(t, root, path); got == "\n<b>canary</b>\n" || !strings.Contains(got, "two") {
				t.Fatalf("after the change: %q: %s", got, tab.Text("main"))
			}
			if out := Eval[int](tab, `[...document.querySelectorAll("td button")].filter(b => b.getBoundingClientRect().right > innerWidth).length`); out > 0 {
				t.Errorf("%d buttons of versions are outside of the window", out)
			}
			tab.Follow(`button[aria-label="Restore version 1"]`)
			if got := valueOf(t, root, path); got != "\n<b>canary</b>\n" {
				t.Fatalf("after the rollback: %q", got)
			}
			s, err := root.GetWhole(t.Context(), path)
			if err != nil || s.Description != "of the & database" {
				t.Errorf("described as %q, %v", s.Description, err)
			}
			if wide := Eval[bool](tab, "document.documentElement.scrollWidth > innerWidth"); wide {
				t.Error("the page is wider than the window")
			}
		})
	}
}

func plural(n int) string {
	if n == 1 {
		return "1 secret"
	}
	return fmt.Sprintf("%d secrets", n)
}

// TestValueIsHiddenUntilShown: it is not in the page before, and not after 30
// seconds.
func TestValueIsHiddenUntilShown(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	put(t, root, "a/key", "earlier-canary")
	if _, err := root.Update(t.Context(), "a/key", client.Value{Data: []byte("</pre><script>alert(1)</script>canary\u202e\x01")}); err != nil {
		t.Fatal(err)
	}
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			tab := site.Open(t, look)
			tab.SignIn("root")
			for _, page := range []string{"secret", "secret-edit", "secret-access", "secret-compare"} {
				tab.Go(pathTo(page, "a/key"))
				if strings.Contains(tab.HTML(), "canary") {
					t.Fatalf("the value is in the page %s", page)
				}
			}
			tab.Go(pathTo("secret-compare", "a/key") + "&from=1&to=2")
			if html := tab.HTML(); strings.Contains(html, "canary") || !strings.Contains(html, "********") {
				t.Fatalf("a masked comparison: %s", tab.Text("main"))
			}
			tab.Go(pathTo("secret", "a/key"))
			if look.NoScript {
				tab.Follow(`form[action="secret"] button`)
			} else {
				Eval[bool](tab, `(() => { const real = setTimeout; window.due = [];
					window.setTimeout = (f, ms, ...args) => ms === 30000 ? due.push(() => f(...args)) : real(f, ms, ...args); return true; })()`)
				tab.Click(`form[action="secret"] button`)
			}
			tab.Await("pre.value", "canary")
			if got := tab.Text("pre.value"); !strings.HasPrefix(got, "</pre><script>alert(1)</script>canary") {
				t.Errorf("shown as %q", got)
			}
			if !look.NoScript {
				Eval[bool](tab, "due.forEach(f => f()), true")
				if strings.Contains(tab.HTML(), "canary") {
					t.Error("the value stays in the page")
				}
			}
			if look.NoScript {
				tab.Go(pathTo("secret-compare", "a/key") + "&from=1&to=2")
				tab.Follow(`form[data-show] button`)
			} else {
				tab.Go(pathTo("secret-compare", "a/key") + "&from=1&to=2")
				tab.Click(`form[data-show] button`)
			}
			tab.Await("pre.value", "-earlier-canary")
		})
	}
}

func TestValueIsCopiedWithoutBeingShown(t *testing.T) {
	site := Start(t)
	put(t, site.As(t, "root"), "a/key", "\ufeffcanary\n")
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	tab.Go(pathTo("secret", "a/key"))
	Eval[bool](tab, `(() => { window.copied = []; navigator.clipboard.writeText = async text => { copied.push(text); };
		const real = setTimeout; window.due = [];
		window.setTimeout = (f, ms, ...args) => ms === 30000 ? due.push(() => f(...args)) : real(f, ms, ...args); return true; })()`)
	tab.Click("form[data-copy] button")
	tab.Await("#copied", "Copied")
	if strings.Contains(tab.HTML(), "canary") {
		t.Error("the value is in the page")
	}
	Eval[bool](tab, "due.forEach(f => f()), true")
	tab.Await("#copied", "was cleared")
	if got := Eval[string](tab, "JSON.stringify(copied)"); got != "[\"\ufeffcanary\\n\",\"\"]" {
		t.Errorf("the clipboard had %s", got)
	}
}

// TestConflictShowsWhatChanged: what somebody else has written is not replaced before
// the user has seen it.
func TestConflictShowsWhatChanged(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	put(t, root, "a/key", "first\nsecond\n")
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	tab.Go(pathTo("secret", "a/key"))
	tab.Follow(`form[action="secret-edit"] button`)
	tab.Type("textarea[name=value]", "mine")
	if _, err := root.Update(t.Context(), "a/key", client.Value{Data: []byte("first\ntheirs\n")}); err != nil {
		t.Fatal(err)
	}
	tab.Follow("main form.wide button")
	if got := tab.Text("main"); !strings.Contains(got, "somebody else has written version 2") || !strings.Contains(got, "-********\n+********") {
		t.Fatalf("the conflict is shown as %s", got)
	}
	if html := tab.HTML(); strings.Contains(html, "theirs") {
		t.Fatalf("values are shown before anybody asks for them: %s", html)
	}
	tab.Click(`form[action="secret-compare"] button`)
	tab.Await("#value", "-second\n+theirs")
	if got := valueOf(t, root, "a/key"); got != "first\ntheirs\n" {
		t.Fatalf("%q was written all the same", got)
	}
	tab.Follow("main form.wide button")
	if got := valueOf(t, root, "a/key"); !strings.Contains(got, "mine") {
		t.Errorf("after the second save it is %q: %s", got, tab.Text("main"))
	}
}

// TestManySecretsAreDeletedAndUndeleted needs a typed confirmation.
func TestManySecretsAreDeletedAndUndeleted(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			folder := "bulk" + strings.ReplaceAll(strings.ReplaceAll(name, " ", ""), ",", "")
			for _, n := range []string{"a", "b", "deep/c", "kept"} {
				put(t, root, folder+"/"+n, "v")
			}
			tab := site.Open(t, look)
			tab.SignIn("root")
			tab.Go("/ui/secrets?folder=" + folder)
			if got := tab.Text("table"); !strings.Contains(got, "deep/") || !strings.Contains(got, "1 secret") || !strings.Contains(got, "root") {
				t.Fatalf("the folder is shown as %s", got)
			}
			for _, n := range []string{"a", "b"} {
				tab.Click(fmt.Sprintf("input[value=%q]", folder+"/"+n))
			}
			tab.Follow("button.danger")
			tab.Type("input[name=confirm]", "delete")
			tab.Follow("main button.danger")
			if got := tab.Text("main"); !strings.Contains(got, "Nothing was deleted") {
				t.Fatalf("without the number: %s", got)
			}
			tab.Type("input[name=confirm]", "delete 2")
			tab.Follow("main button.danger")
			names, err := root.List(t.Context(), folder)
			if err != nil || strings.Join(names, " ") != "deep/c kept" {
				t.Fatalf("left are %q, %v: %s", names, err, tab.Text("main"))
			}
			tab.Go("/ui/deleted?folder=" + folder)
			tab.Follow("td button")
			if names, err = root.List(t.Context(), folder); err != nil || len(names) != 3 {
				t.Fatalf("after the undelete there are %q, %v", names, err)
			}
			tab.Click("summary")
			tab.Type("input[name=confirm]", "purge")
			tab.Follow("details button")
			if names, err = root.List(t.Context(), folder); err != nil || len(names) != 2 {
				t.Fatalf("after the purge there are %q, %v", names, err)
			}
		})
	}
}

// TestPeopleWithoutPermissionsAreHelped: the page names the permission that is
// missing, and what is still possible.
func TestPeopleWithoutPermissionsAreHelped(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy")
	text := "users:\n  writer: {\"dcos:secrets:default:/a/*\": [update]}\n  lister: {\"dcos:secrets:list:default:/a\": [read]}\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	site := Start(t, "--policy-file", policy)
	root := site.As(t, "root")
	put(t, root, "a/key", "canary")
	put(t, root, "b/other", "canary")
	for name, look := range map[string]Look{"script": {}, "no script": {NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			tab := site.Open(t, look)
			tab.SignIn("writer")
			if got := tab.Go("/ui/secrets"); got != 403 {
				t.Errorf("status %d", got)
			}
			if got := tab.Text("main"); !strings.Contains(got, "read on dcos:secrets:list:default:/") || strings.Contains(got, "key") {
				t.Fatalf("without a list: %s", got)
			}
			tab.Type("input[name=path]", "a/key")
			tab.Follow("form[action=secret] button")
			if got := tab.Text("main"); !strings.Contains(got, "read on dcos:secrets:default:/a/key") {
				t.Fatalf("without read: %s", got)
			}
			tab.Follow(`a[href^="secret-edit"]`)
			tab.Type("textarea[name=value]", "written by "+strings.ReplaceAll(name, " ", "-"))
			tab.Follow("main form.wide button")
			if got := valueOf(t, root, "a/key"); got != "written by "+strings.ReplaceAll(name, " ", "-") {
				t.Fatalf("%q was written: %s", got, tab.Text("main"))
			}

			tab = site.Open(t, look)
			tab.SignIn("lister")
			tab.Go("/ui/secrets?search=E")
			if got := tab.Text("main"); !strings.Contains(got, "1 of 1 secret") || !strings.Contains(got, "a/key") || strings.Contains(got, "other") {
				t.Errorf("lister sees %s", got)
			}
			if got := tab.Text("table"); !strings.Contains(got, "you may not read it") {
				t.Errorf("lister sees details: %s", got)
			}
		})
	}
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	tab.Go(pathTo("secret-access", "a/key") + "&uid=writer")
	if got := tab.Text("main"); !strings.Contains(got, "writer") || !strings.Contains(got, "line 2") || !strings.Contains(got, "Needed: read on dcos:secrets:default:/a/key") {
		t.Errorf("who can: %s", got)
	}
}

// TestHostileContentStaysText: whatever names, values, descriptions and queries say,
// the browser neither runs nor shows it as anything but text.
func TestHostileContentStaysText(t *testing.T) {
	const hostile = `"'><img src=x onerror=alert(1)><script>alert(2)</script>{{.}}` + "\u202e\u2066\u0000\u0007javascript:alert(3)"
	site := Start(t)
	root := site.As(t, "root")
	description, labels := strings.ReplaceAll(hostile, "\x00", ""), []string{"<b>bold</b>", "\u202eevil"}
	if _, err := root.Create(t.Context(), "a/key", client.Value{Data: []byte(hostile), Description: &description, Labels: &labels}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Update(t.Context(), "a/key", client.Value{Data: []byte(hostile + hostile)}); err != nil {
		t.Fatal(err)
	}
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	q := url.QueryEscape(hostile)
	for _, page := range []string{"secrets?search=" + q, "secrets?folder=" + q, "secrets?folder=a&after=" + q, "deleted?folder=" + q, "secret?path=" + q, "secret-new?path=" + q,
		"secret-new?folder=" + q, "secret-edit?path=" + q, "secret-access?path=a/key&uid=" + q, "secret-access?path=" + q, "secret-compare?path=a/key&from=1&to=2",
		"secret-compare?path=a/key&from=" + q, "secret?path=a/key&done=" + q, "secrets-rows?search=" + q, "secret?path=a/key"} {
		tab.Go("/ui/" + page)
		if n := Eval[int](tab, "document.querySelectorAll('img, b, script:not([src])').length"); n != 0 {
			t.Errorf("%s: %d elements come from what was shown", page, n)
		}
	}
	if got := tab.Text("dd.text"); !strings.Contains(got, "<script>alert(2)</script>{{.}}") {
		t.Errorf("the description is shown as %q", got)
	}
	tab.Click(`form[data-show] button`)
	tab.Await("pre.value", "<script>alert(2)</script>{{.}}")
	tab.Follow(`form[action="secret-edit"] button`)
	if n := Eval[int](tab, "document.querySelectorAll('img, b, script:not([src])').length"); n != 0 {
		t.Error("the editor makes elements of the value")
	}
}

func TestFilesAreUploadedAndDownloaded(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	content := []byte("\x00\xff\r\n--boundary\r\nkept\r\n")
	file := filepath.Join(t.TempDir(), "keytab")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	tab := site.Open(t, Look{})
	tab.SignIn("root")
	tab.Go("/ui/secret-new?path=a/keytab")
	tab.Do(chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{file}))
	tab.Follow("main form.wide button")
	s, err := root.Get(t.Context(), "a/keytab", client.GetOptions{})
	if err != nil || !s.Binary || !bytes.Equal(s.Value, content) {
		t.Fatalf("%q was stored, %v: %s", s.Value, err, tab.Text("main"))
	}
	tab.Click(`form[data-show] button`)
	tab.Await("#value", "SHA-256")
	if got := tab.Text("#value"); !strings.Contains(got, fmt.Sprintf("%d bytes", len(content))) {
		t.Errorf("shown as %s", got)
	}
	Eval[bool](tab, `post(document.querySelector("form[action=secret-value]")).then(a => a.bytes()).then(b => { document.title = [...b].join(); }), true`)
	var want []string
	for _, c := range content {
		want = append(want, fmt.Sprint(c))
	}
	tab.await(fmt.Sprintf("document.title === %q", strings.Join(want, ",")))
}

// TestEditorSaysWhereJSONIsWrong, while somebody types and when it is saved.
func TestEditorSaysWhereJSONIsWrong(t *testing.T) {
	site := Start(t)
	for name, look := range map[string]Look{"script": {}, "no script": {NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			tab := site.Open(t, look)
			tab.SignIn("root")
			tab.Go("/ui/secret-new?path=a/json")
			tab.Type("textarea[name=value]", "{\n\"a\": 1,\n\"b\": oops\n}\n")
			if !look.NoScript {
				tab.Await("#about", "22 bytes, 4 lines, ends with a newline, not JSON: see line 3")
			}
			tab.Click("input[name=json]")
			tab.Follow("main form.wide button")
			if got := tab.Text("main"); !strings.Contains(got, "not valid JSON, see line 3") {
				t.Errorf("saved as JSON: %s", got)
			}
		})
	}
}
