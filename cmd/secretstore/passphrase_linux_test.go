//go:build gpg

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPassphraseIsAskedForOnTheTerminal has a holder whose key has a passphrase,
// the real pinentry on a terminal, and a gpg.conf that would change what gpg does.
func TestPassphraseIsAskedForOnTheTerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, err := newKeyring(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	environment := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GPG_TTY=") })
	environment = memoryServer(t, append(environment, "GNUPGHOME="+home, "TERM=xterm"), "--bootstrap=false")
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = environment
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	forget := func() { run("gpgconf", "--kill", "all") } // the agent remembers passphrases

	const passphrase = "correct horse"
	run("gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", passphrase, "--quick-gen-key", "holder@example.com", "future-default", "default", "never")
	public := filepath.Join(dir, "holder.pub")
	run("gpg", "--quiet", "--output", public, "--export", "holder@example.com")
	if err := os.WriteFile(filepath.Join(home, "gpg.conf"), []byte("quiet\nbatch\nno-tty\npinentry-mode error\nstatus-fd 2\noutput "+dir+"/stolen\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	forget()
	s := onScreen(t, environment, "secretstore", "init", "--pgp-key", public)
	s.answer("Passphrase:", passphrase)
	s.ends(0, "unsealed")

	run("secretstore", "seal")
	forget()
	s = onScreen(t, environment, "secretstore", "unseal")
	s.answer("Passphrase:", "wrong")
	s.answer("try 2 of 3", "wrong")
	s.answer("try 3 of 3", "wrong")
	s.ends(1, "the passphrase was wrong")

	forget()
	s = onScreen(t, environment, "secretstore", "unseal")
	s.answer("Passphrase:", passphrase)
	s.ends(0, "unsealed")

	// Without a terminal, nothing can be asked; the text says so.
	run("secretstore", "seal")
	forget()
	cmd := exec.Command("secretstore", "unseal")
	cmd.Env = environment
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "export GPG_TTY=$(tty)") {
		t.Errorf("%v\n%s", err, out)
	}
	if exists(filepath.Join(dir, "stolen")) {
		t.Error("gpg.conf had the unseal key written to a file")
	}
}
