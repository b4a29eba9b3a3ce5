package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"secretstore/acl/token"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/fixture"
	"secretstore/internal/oldstores"
)

// TestServerServesOldStores runs the program on stores that an earlier release
// made, and reads all of them over HTTP; package internal/oldstores does more
// with them. One has a rekey under way, which is ended here.
func TestServerServesOldStores(t *testing.T) {
	stores := filepath.Join("../..", oldstores.Folder)
	for _, name := range []string{"bootstrap-bolt", "rekey-bolt"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			want, err := oldstores.Load(filepath.Join(stores, name))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "store.db")
			if err := oldstores.UnpackBolt(filepath.Join(stores, name), file); err != nil {
				t.Fatal(err)
			}
			share := func(holder int, wrapped string) string {
				t.Helper()
				text, err := oldstores.Share(stores, holder, wrapped)
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			c := serveOldStore(t, file)
			if !want.Bootstrap {
				info, err := c.InitInfo(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for i := range want.Threshold {
					if _, err := c.Unseal(ctx, share(want.Holders[i], info.Keys[i])); err != nil {
						t.Fatal(err)
					}
				}
			}
			for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
				status, err := c.SealStatus(ctx)
				if err == nil && !status.Sealed {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("still sealed: %+v, %v", status, err)
				}
			}
			for _, secret := range want.Deleted {
				if _, err := c.Get(ctx, secret.Path, client.GetOptions{}); !errors.Is(err, client.ErrNotFound) {
					t.Errorf("deleted %s: %v", secret.Path, err)
				}
				if _, err := c.Undelete(ctx, secret.Path); err != nil {
					t.Fatal(err)
				}
			}
			all := append(want.Secrets, want.Deleted...)
			if list, err := c.List(ctx, ""); err != nil || len(list) != len(all) {
				t.Errorf("list: %q, %v; want %d names", list, err, len(all))
			}
			for _, secret := range all {
				readOld(t, c, secret)
			}
			if want.Rekey == nil {
				return
			}
			rekey, err := c.RekeyStatus(ctx)
			if err != nil || rekey.Nonce != want.Rekey.Nonce {
				t.Fatalf("%+v, %v", rekey, err)
			}
			for i := range want.Rekey.Threshold {
				if rekey, err = c.VerifyRekey(ctx, want.Rekey.Nonce, share(want.Rekey.Holders[i], rekey.Keys[i])); err != nil {
					t.Fatal(err)
				}
			}
			if rekey.Active {
				t.Errorf("verified, and still %+v", rekey)
			}
			for _, secret := range all {
				readOld(t, c, secret)
			}
		})
	}
}

// readOld reads all values of a secret.
func readOld(t *testing.T, c *client.Client, want oldstores.Secret) {
	t.Helper()
	versions, err := c.Versions(t.Context(), want.Path)
	if err != nil || len(versions.Versions) != len(want.Values) {
		t.Fatalf("%s: %+v, %v", want.Path, versions, err)
	}
	for _, value := range want.Values {
		got, err := c.Get(t.Context(), want.Path, client.GetOptions{Latest: true, Version: value.Version})
		if err != nil {
			t.Fatalf("version %d of %s: %v", value.Version, want.Path, err)
		}
		sum := sha256.Sum256(got.Value)
		if hex.EncodeToString(sum[:]) != value.SHA256 || got.Binary != (value.Kind == 2) || got.ETag != `"`+value.ID+`"` {
			t.Errorf("version %d of %s is another value: %d bytes, ETag %s", value.Version, want.Path, len(got.Value), got.ETag)
		}
		if !got.Binary && (got.Description != want.Description || got.Author != want.Author || !got.Created.Equal(want.Created.Truncate(time.Second))) {
			t.Errorf("metadata of %s: %+v", want.Path, got)
		}
	}
}

// serveOldStore runs a server on a bbolt file until the test ends, and returns
// a client of its superuser.
func serveOldStore(t *testing.T, file string) *client.Client {
	t.Helper()
	dir := t.TempDir()
	key, name := filepath.Join(dir, "key"), filepath.Join(dir, "log")
	if err := os.WriteFile(key, []byte(fixture.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("secretstore", "server", "--storage", "bolt:"+file, "--auth-secret-file", key, "--superuser", "root", "--listen", "127.0.0.1:0")
	cmd.Env, cmd.Stderr = append(os.Environ(), "GORACE=atexit_sleep_ms=0"), log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // killed
	})
	var url string
	for deadline := time.Now().Add(patience); url == ""; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if m := listening.FindSubmatch(text); m != nil {
			url = string(m[1])
		} else if time.Now().After(deadline) {
			t.Fatalf("the server does not listen:\n%s", text)
		}
	}
	bearer, err := token.Sign("root", time.Time{}, "", []byte(fixture.Key))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Server: url, Token: func(context.Context) (string, error) { return bearer, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
