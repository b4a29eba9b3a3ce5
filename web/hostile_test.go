package web

import (
	"html"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"secretstore/api/wire"
)

// attributes are the values of attributes, where an address or an input may have a
// text.
var attributes = regexp.MustCompile(`="[^"]*"`)

// tags returns the tags of a page in their order, without the values of attributes.
// Nothing but a tag may have one of <, > and ".
func tags(page string) string {
	var all strings.Builder
	for rest := attributes.ReplaceAllString(page, "=_"); ; {
		_, after, found := strings.Cut(rest, "<")
		if !found {
			return all.String()
		}
		tag, after, _ := strings.Cut(after, ">")
		all.WriteString("<" + tag + ">")
		rest = after
	}
}

// FuzzTextOfPeopleInPages: descriptions, labels, names of users and groups, resources,
// and definitions are text, whatever they hold. A page has the same tags as with a
// harmless text, and shows the text unchanged but for what HTML cannot have.
func FuzzTextOfPeopleInPages(f *testing.F) {
	for _, seed := range []string{"x", "</textarea><script>x</script>", `" autofocus onfocus="x`, "'><img src=x onerror=x>", "{{.Form}} &lt; &#34;", "javascript:x", "--><!--", "\x00\xff\u2028\u202e", "a\r\nb", "`${x}`"} {
		f.Add(seed)
	}
	pages := func(text string) map[string]any {
		user := wire.User{UID: text, Description: text, ProviderType: text, ProviderID: text, IsRemote: true}
		group := wire.Group{GID: text, Description: text}
		holder := holderPage{Page: "account", Field: "uid", ID: text, Actions: []string{text}, Kinds: []link{{To: text, Text: text}},
			Direct:  []wire.Permission{{RID: text, Actions: []wire.Action{{Name: text, By: text}}}},
			ByGroup: []wire.GroupPermission{{GID: text, RID: text, Actions: []wire.Action{{Name: text, By: text}}}},
		}
		account, of := holder, holder
		account.Account, account.Groups = &user, []wire.GroupOfUser{{Group: group}}
		of.Page, of.Group, of.Members = "group", &group, []wire.MemberOfGroup{{User: user}}
		return map[string]any{
			"secret": secretPage{Path: text, Folder: text, Exists: true, Problem: text,
				Versions: wire.Versions{Author: text, Description: text, Labels: []string{text}}, Current: wire.Version{Kind: text}},
			"secrets":     &secretTable{Search: text, Count: text, Rows: []secretRow{{Name: text, Path: text, Known: true, Kind: text, By: text, MayDelete: true}}},
			"secret-edit": editor{Path: text, Known: true, Description: text, Labels: text, ETag: text},
			"access":      accessPage{Filter: text, Users: some[wire.User]{Rows: []wire.User{user}}, Groups: some[wire.Group]{Rows: []wire.Group{group}}},
			"account":     account,
			"group":       of,
			"check":       checkPage{Definition: text, Findings: []finding{{Finding: wire.Finding{Service: text, Secret: text, Source: text, Where: text, Problem: text, Mend: text}}}},
			"problem":     problem{Text: text, RequestID: text},
		}
	}
	show := func(t *testing.T, name string, data any, uid string) string {
		w := httptest.NewRecorder()
		if err := visitTo(w).execute(200, templates()[name], "frame", &view{Name: name, UID: uid, Page: data}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return w.Body.String()
	}
	harmless := pages("x")
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return // pages leave out what is empty
		}
		for name, data := range pages(text) {
			page := show(t, name, data, text)
			if got, want := tags(page), tags(show(t, name, harmless[name], "x")); got != want {
				t.Errorf("%q changes the tags of %s:\n%s\nwant\n%s", text, name, got, want)
			}
			if want := strings.ReplaceAll(text, "\x00", "\ufffd"); !strings.Contains(html.UnescapeString(page), want) {
				t.Errorf("%s does not show %q", name, text)
			}
		}
	})
}
