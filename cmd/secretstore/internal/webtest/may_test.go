package webtest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"secretstore/api/client"
)

// TestPagesOfferWhatTheUserMayDo, and nothing else. The API decides all the same.
func TestPagesOfferWhatTheUserMayDo(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy")
	var text strings.Builder
	text.WriteString("users:\n")
	for uid, actions := range map[string]string{"reader": "read", "editor": "read, update", "remover": "read, delete", "maker": "read, create", "blind": "update, create, delete"} {
		fmt.Fprintf(&text, "  %s: {\"dcos:secrets:default:/a/*\": [%s], \"dcos:secrets:list:default:/a\": [read]}\n", uid, actions)
	}
	if err := os.WriteFile(policy, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	site := Start(t, "--policy-file", policy)
	root := site.As(t, "root")
	for _, path := range []string{"a/key", "a/gone"} {
		if _, err := root.Create(t.Context(), path, client.Value{Data: []byte("v")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.Update(t.Context(), "a/key", client.Value{Data: []byte("w")}); err != nil {
		t.Fatal(err)
	}
	if err := root.Delete(t.Context(), "a/gone"); err != nil {
		t.Fatal(err)
	}
	// Each has a text of a page that stands for what it offers.
	offers := []struct{ page, text, to string }{
		{"secret?path=a/key", `value="show"`, "reader editor remover maker"},
		{"secret?path=a/key", `value="load"`, "editor"},
		{"secret?path=a/key", `href="secret-edit?path=a%2Fkey"`, "editor blind"},
		{"secret?path=a/key", `value="restore"`, "editor"},
		{"secret?path=a/key", `value="remove"`, "remover"},
		{"secret?path=a/key", `value="delete"`, "remover blind"},
		{"secret?path=a/key", `value="purge"`, "remover blind"},
		{"secret?path=a/key", "You may not change or delete this secret.", "reader maker"},
		{"secret?path=a/key", "You may not delete this secret.", "editor"},
		{"secret?path=a/key", "You may not change this secret.", "remover"},
		{"secret?path=a/key", "You may write it without reading it.", "blind"},
		{"secret?path=a/key", `href="secret-new?path=a%2Fkey"`, "blind"},
		{"secret?path=a/none", `href="secret-new?path=a%2Fnone"`, "maker blind"},
		{"secret?path=a/gone", `value="undelete"`, "maker"},
		{"secret?path=a/gone", `value="restore"`, ""},
		{"secrets?folder=a", `type="checkbox"`, "remover blind"},
		{"secrets?folder=a", "Delete the chosen secrets", "remover blind"},
		{"secrets?folder=a", `href="secret-new`, "maker blind"},
		{"secrets", `href="secret-new`, "maker blind"}, // it may not be listed
		{"secrets?folder=b", `href="secret-new`, ""},
		{"deleted?folder=a", ">Undelete</button>", "maker blind"},
		{"secrets?folder=a", `href="keys"`, ""},
		{"secrets?folder=a", `href="explain"`, "reader editor remover maker blind"},
	}
	b := browse{t, site.URL}
	for _, uid := range []string{"reader", "editor", "remover", "maker", "blind"} {
		cookie, form := b.signIn(site.Token(t, uid))
		pages := make(map[string]string)
		for _, o := range offers {
			if pages[o.page] == "" {
				_, pages[o.page] = b.do("GET", "/ui/"+o.page, cookie, nil)
			}
			if got, want := strings.Contains(pages[o.page], o.text), strings.Contains(o.to, uid); got != want {
				t.Errorf("%s: %s has %s: %t", uid, o.page, o.text, got)
			}
		}
		if uid != "reader" {
			continue
		}
		res, _ := b.do("POST", "/ui/secret", cookie, map[string][]string{"form-token": {form}, "path": {"a/key"}, "do": {"delete"}})
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("the reader deletes without a button: %s", res.Status)
		}
	}
	cookie, _ := b.signIn(site.Token(t, "root"))
	if _, page := b.do("GET", "/ui/secrets", cookie, nil); !strings.Contains(page, `href="keys"`) || !strings.Contains(page, `href="audit"`) {
		t.Error("a superuser has no links to the pages for superusers")
	}
}
