//go:build long

package backups

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/seal"
	"secretstore/seal/sealtest"
	"secretstore/store/memory"
)

// TestEveryDamageOfABackupFileIsRefused makes two backups of a store, one named by its
// file and one in a folder, and cuts, changes and splices them at every tenth byte.
func TestEveryDamageOfABackupFileIsRefused(t *testing.T) {
	backend := memory.New()
	defer backend.Close()
	s, err := seal.Open(t.Context(), seal.Options{Backend: backend, Bootstrap: true, KeepVersions: 2, GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	must(t, err)
	defer s.Close()
	if _, err := s.AutoUnseal(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	write := func(name, value string) {
		p, err := acl.ParsePath(name)
		must(t, err)
		change := seal.Change{Kind: seal.Text, Value: []byte(value), Author: "alice"}
		if _, err = s.Create(t.Context(), p, change); errors.Is(err, seal.ErrExists) {
			_, err = s.Update(t.Context(), p, change)
		}
		must(t, err)
	}
	for n := range 12 {
		write(fmt.Sprint("team/secret", n), strings.Repeat("v", n))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.Backup(r.Context(), w, seal.BackupOptions{BootstrapKey: true}); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	single := filepath.Join(dir, "single")
	_, err = run("-o", single, "--server", srv.URL)
	must(t, err)
	write("team/secret3", "changed")
	must(t, os.Mkdir(dir+"/folder", 0o700))
	_, err = run("-o", dir+"/folder", "--server", srv.URL)
	must(t, err)
	names, err := filepath.Glob(dir + "/folder/*.backup")
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	files := []string{single, names[0]}
	var contents [2][]byte
	for i, file := range files {
		contents[i], err = os.ReadFile(file)
		must(t, err)
		for _, check := range []string{"verify", "drill"} {
			if out, err := run(check, file); err != nil {
				t.Fatalf("%s: %s, %v", check, out, err)
			}
		}
	}
	for i, file := range files {
		whole, other := contents[i], contents[1-i]
		for at := 0; at < len(whole); at += 10 {
			changed := bytes.Clone(whole)
			changed[at] ^= 0x10
			for what, bad := range map[string][]byte{
				"cut": whole[:at], "changed": changed, "spliced": append(bytes.Clone(whole[:at]), other[min(at, len(other)):]...),
			} {
				if bytes.Equal(bad, whole) || bytes.Equal(bad, other) {
					continue
				}
				must(t, os.WriteFile(file, bad, 0o600))
				// The MAC follows what the hash is of: only the key finds a change of it.
				check := "verify"
				if at >= len(whole)-32 {
					check = "drill"
				}
				if out, err := run(check, file); !errors.Is(err, seal.ErrBadBackup) {
					t.Errorf("%s of a backup that was %s at byte %d of %d: %s, %v", check, what, at, len(whole), out, err)
				}
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
