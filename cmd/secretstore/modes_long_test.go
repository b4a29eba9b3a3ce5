//go:build long && zookeeper && gpg

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestEarlierReleaseAndSecurityModes: a client of the earlier release works with a
// server in each mode, and its server opens the store again. $EARLIER is a folder with
// its program.
func TestEarlierReleaseAndSecurityModes(t *testing.T) {
	program := buildEarlier(t)
	folder := t.TempDir()
	if err := os.Symlink(program, filepath.Join(folder, "secretstore")); err != nil {
		t.Fatal(err)
	}
	runScripts(t, "../../testdata/script/earlier", func(env *testscript.Env) error {
		env.Setenv("EARLIER", folder)
		return nil
	}, nil)
}
