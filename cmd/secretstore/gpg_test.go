//go:build gpg

package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScriptsWithGPG runs the procedures of operators with the real gpg.
func TestScriptsWithGPG(t *testing.T) {
	runScripts(t, "../../testdata/script/gpg", gnupgHome, nil)
}

// gnupgHome gives a script an empty keyring of its own, and ends the agent that
// gpg starts for it. Its path is short, for the agent's socket lies in it.
func gnupgHome(env *testscript.Env) error {
	home, err := os.MkdirTemp("/tmp", "gpg") // mode 0700
	if err != nil {
		return err
	}
	env.Setenv("GNUPGHOME", home)
	env.Defer(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = append(os.Environ(), "GNUPGHOME="+home)
		stop.Run() // there may be no agent
		os.RemoveAll(home)
	})
	return nil
}
