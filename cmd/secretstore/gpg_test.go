//go:build gpg

package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScriptsWithGPG runs the procedures of operators with the real gpg.
// Further commands, for scripts with several people:
//
//	person NAME              makes a person with a keyring and a PGP key, whose
//	                         public key is NAME.pub, and becomes that person
//	become NAME              goes on as that person
func TestScriptsWithGPG(t *testing.T) {
	t.Parallel()
	runScripts(t, "../../testdata/script/gpg", gnupgHome, people)
}

var people = map[string]command{"person": cmdPerson, "become": cmdBecome}

// gnupgHome gives a script an empty keyring of its own.
func gnupgHome(env *testscript.Env) error {
	home, err := newKeyring(env.Defer)
	env.Setenv("GNUPGHOME", home)
	return err
}

// newKeyring makes a keyring, and ends the agent that gpg starts for it. Its
// path is short, for the agent's socket lies in it.
func newKeyring(after func(func())) (string, error) {
	home, err := os.MkdirTemp("/tmp", "gpg") // mode 0700
	if err != nil {
		return "", err
	}
	after(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = append(os.Environ(), "GNUPGHOME="+home)
		stop.Run() // there may be no agent
		os.RemoveAll(home)
	})
	return home, nil
}

func cmdPerson(ts *testscript.TestScript, _ bool, args []string) {
	home, err := newKeyring(ts.Defer)
	ts.Check(err)
	ts.Setenv("home_"+args[0], home)
	cmdBecome(ts, false, args)
	ts.Check(ts.Exec("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", args[0]+"@example.com", "future-default", "default", "never"))
	ts.Check(ts.Exec("gpg", "--output", ts.MkAbs(args[0]+".pub"), "--export", args[0]+"@example.com"))
}

func cmdBecome(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("GNUPGHOME", ts.Getenv("home_"+args[0]))
}
