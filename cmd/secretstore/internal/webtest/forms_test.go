package webtest

import (
	"html"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// TestPagesOfSuperusers has what needs no browser.
func TestPagesOfSuperusers(t *testing.T) {
	site := Start(t, "--audit-log", t.TempDir()+"/audit.log")
	root := site.As(t, "root")
	if err := root.Identities().CreateUser(t.Context(), "alice", wire.UserCreate{Password: wire.Password("a long password")}); err != nil {
		t.Fatal(err)
	}
	b := browse{t, site.URL}
	cookie, token := b.signIn(site.Token(t, "root"))
	get := func(t *testing.T, page string) string {
		t.Helper()
		res, text := b.do("GET", "/ui/"+page, cookie, nil)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", page, res.Status)
		}
		return text
	}

	t.Run("a form that is refused keeps what was typed", func(t *testing.T) {
		for _, row := range []struct {
			page   string
			typed  url.Values
			status int
			want   []string
		}{
			{"account", url.Values{"do": {"grant"}, "uid": {"alice"}, "on": {"list"}, "path": {`a/"b*c`}, "action": {"update"}, "until": {"2040-01-02T03:04"}}, 400,
				[]string{`<details open><summary>New grant`, `value="a/&#34;b*c"`, `<option value="list" selected>`, `<option selected>update</option>`, `value="2040-01-02T03:04"`}},
			{"account", url.Values{"do": {"grant"}, "uid": {"alice"}, "on": {"secret"}, "path": {"a/b"}, "action": {"read"}, "until": {"tomorrow"}}, 400, []string{`value="a/b"`, "2030-12-31T18:00"}},
			{"account", url.Values{"do": {"join"}, "uid": {"alice"}, "gid": {"no-such"}}, 400, []string{`value="no-such"`}},
			{"account", url.Values{"do": {"password"}, "uid": {"alice"}, "password": {"zz-"}}, 400, []string{"New password"}},
			{"access", url.Values{"do": {"user"}, "id": {"alice"}, "description": {"second & last"}, "password": {"zz-other password"}}, 409,
				[]string{`<details open><summary>New user`, `value="alice"`, `value="second &amp; last"`}},
			{"access", url.Values{"do": {"service"}, "id": {"svc"}, "key": {"no\r\nkey"}}, 400, []string{`<details open><summary>New service`, "no\r\nkey</textarea>"}},
			{"access", url.Values{"do": {"service"}, "id": {"svc"}, "key": {"-----BEGIN PRIVATE KEY-----\nzz-mine"}}, 400, []string{`value="svc"`}},
			{"access", url.Values{"do": {"group"}, "id": {"bad id/"}}, 400, []string{`<details open><summary>New group`, `value="bad id/"`}},
		} {
			row.typed.Set("form-token", token)
			res, text := b.do("POST", "/ui/"+row.page, cookie, row.typed)
			if res.StatusCode != row.status || !strings.Contains(text, `class="problem" role="alert"`) || strings.Contains(text, "zz-") {
				t.Errorf("%s %v: %s\n%s", row.page, row.typed, res.Status, text)
			}
			for _, want := range row.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s %v: no %s in\n%s", row.page, row.typed, want, text)
				}
			}
		}
		res, text := b.do("GET", "/ui/explain?uid=%01&action=read&path=a%2Fb", cookie, nil)
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(text, `value="a/b"`) || !strings.Contains(text, `role="alert"`) {
			t.Errorf("a question that is refused: %s\n%s", res.Status, text)
		}
	})
	t.Run("an editor without the value does not empty it", func(t *testing.T) {
		const value = "\x00\xffkeytab"
		if _, err := root.Create(t.Context(), "a/keytab", client.Value{Data: []byte(value), Binary: true}); err != nil {
			t.Fatal(err)
		}
		const hidden = `name="hidden" value="yes"`
		if text := get(t, "secret-edit?path=a/keytab"); !strings.Contains(text, hidden) {
			t.Errorf("the editor does not say that it has no value:\n%s", text)
		}
		res, text := b.do("POST", "/ui/secret-edit", cookie, url.Values{"form-token": {token}, "path": {"a/keytab"}, "do": {"load"}})
		etag := regexp.MustCompile(`name="etag" value="([^"]+)"`).FindStringSubmatch(text)
		if res.StatusCode != http.StatusOK || !strings.Contains(text, hidden) || etag == nil {
			t.Fatalf("%s\n%s", res.Status, text)
		}
		form := url.Values{"form-token": {token}, "path": {"a/keytab"}, "etag": {html.UnescapeString(etag[1])}, "known": {"yes"}, "hidden": {"yes"},
			"description": {"mine"}, "labels": {""}, "value": {""}, "file": {""}}
		res, text = b.do("POST", "/ui/secret-edit", cookie, form)
		if res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, "Nothing was saved") || !strings.Contains(text, hidden) || !strings.Contains(text, "mine</textarea>") {
			t.Errorf("without a value: %s\n%s", res.Status, text)
		}
		if s, err := root.Get(t.Context(), "a/keytab", client.GetOptions{}); err != nil || string(s.Value) != value {
			t.Errorf("%q, %v", s.Value, err)
		}
		form.Set("value", "text")
		if res, text := b.do("POST", "/ui/secret-edit", cookie, form); res.StatusCode != http.StatusSeeOther {
			t.Errorf("with one: %s\n%s", res.Status, text)
		}
	})
	t.Run("the audit log without reads", func(t *testing.T) {
		if _, err := root.Create(t.Context(), "a/changed", client.Value{Data: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		if err := site.As(t, "alice").Delete(t.Context(), "a/changed"); err == nil {
			t.Fatal("alice may delete")
		}
		if _, err := root.Get(t.Context(), "a/changed", client.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		if text := get(t, "audit"); !strings.Contains(text, "<td>secret.read</td>") {
			t.Errorf("the read is not shown:\n%s", text)
		}
		text := get(t, "audit?changes=yes&filter=A%2Fchanged")
		for name, want := range map[string]bool{"secret.read": false, "secret.create": true, "secret.delete": true, "users.create": false, "denied": true, `value="yes" checked`: true} {
			if strings.Contains(text, name) != want {
				t.Errorf("changes of the secret: %s is shown: %t\n%s", name, !want, text)
			}
		}
		if text := get(t, "audit?changes=yes"); !strings.Contains(text, "users.create") || strings.Contains(text, ".show") || strings.Contains(text, ".list") {
			t.Errorf("all changes:\n%s", text)
		}
	})
	t.Run("a deleted secret says when it was deleted", func(t *testing.T) {
		if _, err := root.Create(t.Context(), "a/gone", client.Value{Data: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		if err := root.Delete(t.Context(), "a/gone"); err != nil {
			t.Fatal(err)
		}
		versions, err := root.Versions(t.Context(), "a/gone")
		if err != nil {
			t.Fatal(err)
		}
		text := get(t, "deleted")
		for _, at := range []string{versions.Deleted.Format("2006-01-02 15:04:05"), versions.Deleted.AddDate(0, 0, 30).Format("2006-01-02 15:04:05")} {
			if !strings.Contains(text, ">"+at+" UTC<") {
				t.Errorf("no %s in\n%s", at, text)
			}
		}
	})
	t.Run("the server and its name", func(t *testing.T) {
		name, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		if text := get(t, ""); !strings.Contains(text, "<dd>"+name+"</dd>") {
			t.Errorf("the overview does not name the server:\n%s", text)
		}
		text := get(t, "servers")
		if !strings.Contains(text, "This server is the only one") || strings.Contains(text, "<table>") || !strings.Contains(text, "<dd>"+name+"</dd>") {
			t.Errorf("the servers:\n%s", text)
		}
	})
}

// TestEditingKeepsWhatNobodyChanges: a form does not keep all characters of descriptions and
// labels, so those that nobody changes are not written. It says so of the value.
func TestEditingKeepsWhatNobodyChanges(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	b := browse{t, site.URL}
	cookie, token := b.signIn(site.Token(t, "root"))
	description, labels := "one\rtwo\r\n<\">", []string{" x ", "a\nb", "", "a\r\nb"}
	if _, err := root.Create(t.Context(), "a/b", client.Value{Data: []byte("1\x00"), Description: &description, Labels: &labels}); err != nil {
		t.Fatal(err)
	}
	// open loads the editor, and returns what a browser sends if somebody changes the value.
	field := regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">|<textarea name="(description|labels)" [^>]*>\n([^<]*)</textarea>`)
	open := func() url.Values {
		_, page := b.do("POST", "/ui/secret-edit", cookie, url.Values{"form-token": {token}, "path": {"a/b"}, "do": {"load"}})
		if !strings.Contains(page, "NUL characters") {
			t.Errorf("nothing is said of the value: %s", page)
		}
		typed := url.Values{"value": {"2\x00"}}
		for _, m := range field.FindAllStringSubmatch(page[strings.Index(page, `action="secret-edit"`):], -1) {
			text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(html.UnescapeString(m[2] + m[4]))
			typed.Set(m[1]+m[3], strings.ReplaceAll(text, "\n", "\r\n"))
		}
		return typed
	}
	save := func(typed url.Values, wantDescription string, wantLabels []string) {
		t.Helper()
		if res, page := b.do("POST", "/ui/secret-edit", cookie, typed); res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%v: %s\n%s", typed, res.Status, page)
		}
		s, err := root.GetWhole(t.Context(), "a/b")
		if err != nil || string(s.Value) != "2\x00" || s.Description != wantDescription || !slices.Equal(s.Labels, wantLabels) {
			t.Errorf("%+v, %v", s, err)
		}
	}
	save(open(), description, labels)
	typed := open()
	typed.Set("labels", "new\r\n\r\n other ")
	save(typed, description, []string{"new", "other"})
	typed = open()
	typed.Set("labels", "")
	typed.Set("description", "")
	save(typed, "", nil)
}
