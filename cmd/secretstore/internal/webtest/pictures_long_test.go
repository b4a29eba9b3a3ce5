//go:build long

package webtest

import (
	"os"
	"path/filepath"
	"testing"

	"secretstore/api/client"
)

// TestPicturesOfTheDocumentation makes the pictures of docs/web.md, in the folder
// WEBTEST_PICTURES: see make pictures.
func TestPicturesOfTheDocumentation(t *testing.T) {
	dir := os.Getenv("WEBTEST_PICTURES")
	if dir == "" {
		dir = t.TempDir()
	}
	site := Start(t)
	root := site.As(t, "root")
	for _, path := range []string{"billing/app/api-key", "billing/app/tls-key", "billing/db/password", "shop/cache/password", "shop/db/password", "shop/db/user", "shop/mail/token"} {
		put(t, root, path, "an example")
	}
	description, labels := "The user of the database, made by its operator", []string{"prod", "db"}
	if _, err := root.Update(t.Context(), "shop/db/password", client.Value{Data: []byte("an example"), Description: &description, Labels: &labels}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		name, page string
		look       Look
	}{
		{"secrets-light", "secrets?search=db", Look{}},
		{"secret-dark", "secret?path=shop/db/password", Look{Dark: true}},
		{"secret-narrow", "secret?path=shop/db/password", Look{Width: 360}},
		{"unseal-narrow-dark", "unseal", Look{Width: 360, Dark: true}},
	} {
		if p.page == "unseal" {
			if _, err := root.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		tab := site.Open(t, p.look)
		tab.SignIn("root")
		tab.Go("/ui/" + p.page)
		tab.Screenshot(filepath.Join(dir, p.name+".png"))
	}
}
