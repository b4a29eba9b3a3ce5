package gpg

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// TestGPGOutputNeverReachesTheTerminal runs a stand-in that prints a key: only
// the caller gets it.
func TestGPGOutputNeverReachesTheTerminal(t *testing.T) {
	script := filepath.Join(t.TempDir(), "gpg")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncat <&4\necho note >&2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	key, err := gpgDecrypt(context.Background(), &base.Process{Stdout: &out, Stderr: &errs}, script, "63616e6172790a")
	if err != nil || key != "canary" || out.String() != "" || errs.String() != "" {
		t.Errorf("key %q, %v; stdout %q, stderr %q", key, err, out.String(), errs.String())
	}
	if _, err := gpgDecrypt(context.Background(), &base.Process{}, script, "not hex"); err == nil {
		t.Error("a key that is not hex is accepted")
	}
}

// TestAMessageWithoutEndIsNotTakenForAShare: a few KiB of one that is compressed can be
// more than any memory.
func TestAMessageWithoutEndIsNotTakenForAShare(t *testing.T) {
	script := filepath.Join(t.TempDir(), "gpg")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec yes\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := Holder{P: &base.Process{Stderr: io.Discard}, Program: script}
	_, err := h.Each(t.Context(), []string{"63616e617279", "63616e617279"}, func(int, string) (bool, error) {
		t.Error("something was used")
		return false, nil
	})
	if !errors.Is(err, errNotShare) {
		t.Error(err)
	}
}

func TestOnlySharesLeaveTheProgram(t *testing.T) {
	for text, want := range map[string]bool{
		strings.Repeat("01", 33): true, strings.Repeat("a", 64): true, "": false, "Dear Alice, the password is": false,
		strings.Repeat("g", 64): false, strings.Repeat("a", 63): false, strings.Repeat("a", 65): false, strings.Repeat("a", 128): false,
	} {
		if shareForm(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

// FuzzWrappedKeys: a document yields keys or an error, never both or neither.
func FuzzWrappedKeys(f *testing.F) {
	f.Add([]byte(`{"keys":["ab"],"pgp_fingerprints":["x"]}`))
	f.Add([]byte(`{"keys":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseWrapped(data)
		if (len(keys) > 0) == (err != nil) {
			t.Errorf("%v, %v", keys, err)
		}
	})
}
