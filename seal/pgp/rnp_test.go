//go:build gpg

package pgp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// rnpOpens checks that rnp, given the secret key, prints the share. It is the
// second implementation for brainpool curves, which the library behind Debian
// 12's sq does not support.
func rnpOpens(t *testing.T, secret, message []byte) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "secret.pgp")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("rnp", "--homedir", dir, "--keyfile", file, "--decrypt", "--output", "-", "-")
	cmd.Stdin = bytes.NewReader(message)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if plain, err := cmd.Output(); err != nil || string(plain) != testShare {
		t.Errorf("rnp printed %q, %v\n%s", plain, err, errs.Bytes())
	}
}
