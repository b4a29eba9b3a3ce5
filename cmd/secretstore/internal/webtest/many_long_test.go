//go:build long

package webtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"secretstore/api/client"
)

// TestSecretIsFoundAmong100000 by a search of the page, and by way of the folders.
func TestSecretIsFoundAmong100000(t *testing.T) {
	site := Start(t)
	root := site.As(t, "root")
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(64)
	for folder := range 1000 {
		g.Go(func() error {
			for key := range 100 {
				path := fmt.Sprintf("team-%02d/app-%d/key-%02d", folder/10, folder%10, key)
				// A ZooKeeper that has just started may be slow, and have taken the secret.
				_, err := client.Retry(ctx, client.Retries{Again: isBusy}, func(ctx context.Context) (client.Written, error) {
					return root.Create(ctx, path, client.Value{Data: []byte(canary)})
				})
				if err != nil && !errors.Is(err, client.ErrExists) {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for name, look := range map[string]Look{"script": {}, "no script": {Width: 360, NoScript: true}} {
		t.Run(name, func(t *testing.T) {
			tab := site.Open(t, look)
			tab.SignIn("root")
			tab.Go("/ui/secrets")
			if got := tab.Text("#rows"); !strings.Contains(got, "100,000 secrets") || !strings.Contains(got, "team-00/") || !strings.Contains(got, "1,000 secrets") {
				t.Fatalf("the folders: %s", got)
			}
			tab.Paste("input[type=search]", "TEAM-42/APP-7/")
			if look.NoScript {
				tab.Follow("form[role=search] button")
			}
			tab.Await("#rows", "100 of 100,000 secrets")
			if look.NoScript {
				tab.Follow("#rows > p > a") // the second page
			} else {
				t.Logf("the answer to the search took %.0f ms", Eval[float64](tab, `performance.getEntriesByType("resource").filter(e => e.name.includes("secrets-rows")).at(-1).duration`))
				tab.Paste("input[type=search]", "key-99")
				tab.Await("#rows", "1 of 100,000 secrets")
			}
			tab.Follow("tr:last-child a[data-row]")
			if got := tab.Text("h1"); got != "team-42/app-7/key-99" {
				t.Errorf("the search leads to %q", got)
			}
			// By way of the folders, 50 on a page.
			tab.Go("/ui/secrets")
			tab.Follow("#rows > p > a")
			tab.Follow("tr:last-child a[data-row]")
			if got := tab.Text("#rows"); !strings.Contains(got, "1,000 secrets") || !strings.Contains(got, "app-0/") {
				t.Errorf("the last folder: %s", got)
			}
		})
	}
}

func isBusy(err error) bool {
	return errors.Is(err, client.ErrUnknown) || errors.Is(err, client.ErrUnavailable)
}
