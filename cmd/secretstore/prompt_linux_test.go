package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPromptStoresOnlyWhatWasTypedTwice types at the hidden prompt of put.
func TestPromptStoresOnlyWhatWasTypedTwice(t *testing.T) {
	t.Parallel()
	environment := withMemoryServer(t)
	get := func(name string) (string, int) {
		cmd := exec.Command("secretstore", "get", name)
		cmd.Env = environment
		out, _ := cmd.Output() // the status says more
		return string(out), cmd.ProcessState.ExitCode()
	}

	for name, typed := range map[string][]string{
		"ctrl-c":        {"\x03"},
		"ctrl-c-later":  {"half a val\x03"},
		"ctrl-d":        {"\x04"},
		"ctrl-d-later":  {"half a val\x04"},
		"second-ctrl-d": {"s3cret\r", "\x04"},
		"differ":        {"s3cret\r", "s3crte\r"},
	} {
		d := onScreen(t, environment, "secretstore", "put", name)
		for i, keys := range typed {
			d.types([]string{"Value (not shown):", "The same again:"}[i], keys)
		}
		d.ends(1, "nothing was stored")
		if out, status := get(name); status != 3 {
			t.Errorf("%s: get exits with %d and prints %q", name, status, out)
		}
	}

	d := onScreen(t, environment, "secretstore", "put", "typed")
	d.answer("Value (not shown):", "s3crett\x7f") // with a slip of the finger
	d.answer("The same again:", "s3cret")
	d.ends(0, "")
	if out, status := get("typed"); out != "s3cret" || status != 0 {
		t.Errorf("get exits with %d and prints %q", status, out)
	}
}

// withMemoryServer is memoryServer, with a bootstrap key, and unsealed.
func withMemoryServer(t *testing.T) (environment []string) {
	t.Helper()
	environment = memoryServer(t, os.Environ())
	eventually(t, "the server is ready", func() bool {
		cmd := exec.Command("secretstore", "list")
		cmd.Env = environment
		return cmd.Run() == nil
	})
	return environment
}

// TestGetOnATerminalEndsTheLineAndPrintsNoBinary looks at the screen.
func TestGetOnATerminalEndsTheLineAndPrintsNoBinary(t *testing.T) {
	t.Parallel()
	environment := withMemoryServer(t)
	for name, value := range map[string]string{"line": "s3cret", "lines": "a\nb\n", "bytes": "\x00\xff", "escape": "a\x1b[31mb"} {
		cmd := exec.Command("secretstore", "put", name)
		cmd.Env, cmd.Stdin = environment, strings.NewReader(value)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	screenOf := func(status int, args ...string) string {
		d := onScreen(t, environment, "secretstore", append([]string{"get"}, args...)...)
		d.ends(status, "")
		return d.screen.text()
	}
	for name, want := range map[string]string{"line": "s3cret\r\n", "lines": "a\r\nb\r\n"} {
		if got := screenOf(0, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"bytes", "escape"} {
		got := screenOf(2, name)
		if !strings.Contains(got, "-o FILE") {
			t.Errorf("%s: %q", name, got)
		}
		for _, b := range []byte("\x00\xff\x1b") {
			if strings.IndexByte(got, b) >= 0 {
				t.Errorf("%s: the byte %#x is on the screen: %q", name, b, got)
			}
		}
	}
	if got := screenOf(0, "line", "-o", "-"); got != "s3cret" {
		t.Errorf("-o -: %q", got)
	}
	if got := screenOf(0, "bytes", "-o", "-"); got != "\x00\xff" {
		t.Errorf("-o -: %q", got)
	}
}

// TestDeleteAsksOnATerminal answers no, and then yes.
func TestDeleteAsksOnATerminal(t *testing.T) {
	t.Parallel()
	environment := withMemoryServer(t)
	for _, name := range []string{"a/one", "a/two", "b"} {
		cmd := exec.Command("secretstore", "put", name, "-v", "x")
		cmd.Env = environment
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, row := range []struct {
		args           []string
		question, done string
	}{
		{[]string{"delete", "-r", "a"}, "Delete 2 secret(s)? [y/N]", "deleted 2 of 2"},
		{[]string{"delete", "b", "--purge"}, "Remove b and all its versions for good? [y/N]", "purged b"},
	} {
		d := onScreen(t, environment, "secretstore", row.args...)
		d.answer(row.question, "")
		d.ends(1, "nothing was changed")
		d = onScreen(t, environment, "secretstore", row.args...)
		d.answer(row.question, "y")
		d.ends(0, row.done)
	}
}
