package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLoginOnATerminalShowsNoPassword types passwords, wrong and right ones, and changes
// one.
func TestLoginOnATerminalShowsNoPassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	superusers := filepath.Join(dir, "superusers")
	line := "admin:$6$rounds=1000$nEh8/05XtcKTPMgQ$lgSWukTsroquqcsBg1yJrTpThA5CM7.4WDYwpOLYXLIH0d8wlrUlkGuDQcC7qjr45y0jmO5z.WMm2Cebg3.fo.\n"
	if err := os.WriteFile(superusers, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := memoryServer(t, os.Environ(), "--iam", "builtin", "--superuser-password-file", superusers)
	home := filepath.Join(dir, "config")
	noToken := append(slices.DeleteFunc(slices.Clone(environment), func(v string) bool { return strings.HasPrefix(v, "SECRETSTORE_TOKEN_FILE=") }),
		"XDG_CONFIG_HOME="+home)
	as := func(environment []string, input string, args ...string) (string, error) {
		cmd := exec.Command("secretstore", args...)
		cmd.Env, cmd.Stdin = environment, strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	eventually(t, "an account can be made", func() bool {
		_, err := as(environment, "old horse", "users", "create", "alice")
		return err == nil
	})
	tokens := func() []string {
		files, err := filepath.Glob(filepath.Join(home, "secretstore/tokens/*"))
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	for _, uid := range []string{"alice", "admin"} {
		d := onScreen(t, noToken, "secretstore", "login", uid)
		d.answer("Password of "+uid+" (not shown):", "wrong horse")
		d.ends(4, "Invalid credentials")
		if strings.Contains(d.screen.text(), "horse") || len(tokens()) != 0 {
			t.Errorf("%s: %q, %q", uid, d.screen.text(), tokens())
		}
		d = onScreen(t, noToken, "secretstore", "login", uid)
		d.types("Password of "+uid+" (not shown):", "\x03")
		d.ends(1, "canceled")

		d = onScreen(t, noToken, "secretstore", "login", uid)
		d.answer("Password of "+uid+" (not shown):", "old horse")
		d.ends(0, "signed in as "+uid)
		if strings.Contains(d.screen.text(), "horse") {
			t.Errorf("%s: the password is on the screen: %q", uid, d.screen.text())
		}
		file := tokens()
		if len(file) != 1 {
			t.Fatalf("%s: %q", uid, file)
		}
		info, err := os.Stat(file[0])
		raw, readErr := os.ReadFile(file[0])
		if err := errors.Join(err, readErr); err != nil || info.Mode() != 0o600 || strings.Contains(d.screen.text(), strings.TrimSpace(string(raw))) {
			t.Errorf("%s: %v, %v, %q", uid, info.Mode(), err, d.screen.text())
		}
		if out, err := as(noToken, "", "whoami"); err != nil || !strings.HasPrefix(out, uid+"\n") {
			t.Errorf("%s: %v: %s", uid, err, out)
		}
		if uid == "admin" {
			break
		}

		d = onScreen(t, noToken, "secretstore", "users", "passwd")
		d.answer("Present password of alice (not shown):", "old horse")
		d.answer("New password of alice (not shown):", "new horse")
		d.answer("The same again:", "nwe horse")
		d.ends(1, "the two lines differ")
		d = onScreen(t, noToken, "secretstore", "users", "passwd")
		d.answer("Present password of alice (not shown):", "old horse")
		d.answer("New password of alice (not shown):", "new horse")
		d.answer("The same again:", "new horse")
		d.ends(0, "changed the password of alice")
		if strings.Contains(d.screen.text(), "horse") {
			t.Errorf("a password is on the screen: %q", d.screen.text())
		}
		if out, err := as(noToken, "", "whoami"); err == nil {
			t.Errorf("a token outlives the password: %s", out)
		}
		if out, err := as(noToken, "new horse\n", "login", uid); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if out, err := as(noToken, "", "logout"); err != nil || len(tokens()) != 0 {
			t.Errorf("%v: %s", err, out)
		}
	}
	if out, err := as(noToken, "", "logout"); err != nil || len(tokens()) != 0 {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := as(noToken, "", "whoami"); err == nil || !strings.Contains(out, "not signed in") {
		t.Errorf("%v: %s", err, out)
	}
}
