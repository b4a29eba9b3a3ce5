//go:build gpg

package pgp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sq runs Sequoia's sq, the second implementation that must be able to open the
// messages of this package.
func sq(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("sq", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("sq %q: %v\n%s", args, err, errs.Bytes())
	}
	return out.Bytes()
}

// sqOpens checks that sq, given the secret key, prints the share.
func sqOpens(t *testing.T, secret, message []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret.pgp")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	if plain := sq(t, message, "decrypt", "--recipient-key", file); string(plain) != testShare {
		t.Errorf("sq printed %q", plain)
	}
}

// sqKey is a key made by sq, armored.
type sqKey struct {
	file         string // the secret key; its revocation is in the same folder
	secret, cert []byte
}

func newSqKey(t *testing.T, args ...string) sqKey {
	t.Helper()
	k := sqKey{file: filepath.Join(t.TempDir(), "key.pgp")}
	sq(t, nil, append([]string{"key", "generate", "--userid", "holder@example.org", "--export", k.file}, args...)...)
	var err error
	if k.secret, err = os.ReadFile(k.file); err != nil {
		t.Fatal(err)
	}
	k.cert = sq(t, k.secret, "key", "extract-cert")
	return k
}

// revoked returns the certificate with its revocation. gpg merges the two,
// because Debian 12's sq can only write the revocation to a file.
func (k sqKey) revoked(t *testing.T) []byte {
	t.Helper()
	revocation, err := os.ReadFile(k.file + ".rev")
	if err != nil {
		t.Fatal(err)
	}
	g := newGnupg(t)
	for _, part := range [][]byte{k.cert, sq(t, revocation, "dearmor")} {
		if _, err := g.try(part, "--import"); err != nil {
			t.Fatal(err)
		}
	}
	return g.run("--armor", "--export")
}

// TestMessagesToSqKeysOpen: sq and gpg both print a share that was wrapped for
// a key made by sq.
func TestMessagesToSqKeysOpen(t *testing.T) {
	t.Parallel()
	openedWithSqKeys(t, "cv25519", "rsa3k")
}

func openedWithSqKeys(t *testing.T, suites ...string) {
	g := newGnupg(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			g.t = t
			key := newSqKey(t, "--cipher-suite", suite, "--userid", suite)
			if _, err := g.try(key.secret, "--import"); err != nil {
				t.Fatal(err)
			}
			binary := sq(t, key.secret, "key", "extract-cert", "--binary")
			messages := wrapForms(t, g.fingerprint(suite), binary, key.cert)
			for _, message := range messages {
				sqOpens(t, key.secret, message)
			}
			if plain, err := g.try(messages[0], "--decrypt"); err != nil || string(plain) != testShare {
				t.Errorf("gpg printed %q, %v", plain, err)
			}
		})
	}
}
