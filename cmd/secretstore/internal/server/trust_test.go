package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/fixture"
)

// untrust lets every user change a file, or as root in some cases gives it away.
var untrust = map[string]struct {
	change  func(path string) error
	command string // that repairs it
}{
	"everybody can write to it": {func(path string) error {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Chmod(path, info.Mode()|0o002)
		}
		return err
	}, "run: chmod o-w "},
	"it belongs to user 12345": {func(path string) error { return os.Chown(path, 12345, 12345) }, "run: chown "},
}

// eachUntrust runs a test for each way that this user can try. Package filetrust tests
// all of them for every user.
func eachUntrust(t *testing.T, test func(t *testing.T, how string, change func(path string) error, command string)) {
	for how, tt := range untrust {
		if os.Geteuid() != 0 && strings.Contains(how, "belongs") {
			t.Log("only root can give files away")
			continue
		}
		t.Run(how, func(t *testing.T) { test(t, how, tt.change, tt.command) })
	}
}

// TestFilesThatOthersCanChangeAreRefusedAtTheStart: they say who gets in.
func TestFilesThatOthersCanChangeAreRefusedAtTheStart(t *testing.T) {
	eachUntrust(t, func(t *testing.T, how string, change func(string) error, command string) {
		for _, option := range []string{
			"auth-secret-file", "auth-jwks", "policy-file", "tls-cert-file", "tls-key-file", "tls-client-ca", "zk-auth-file", "zk-tls-ca", "zk-tls-cert", "zk-tls-key",
			"config", "bootstrap",
		} {
			dir := t.TempDir()
			file := write(t, dir, "file", "content")
			args := []string{"--" + option, file}
			if option == "bootstrap" {
				file = write(t, dir, "s.db.bootstrap.key", "content")
				args = []string{"--storage", "bolt:" + filepath.Join(dir, "s.db")}
			}
			if err := change(file); err != nil {
				t.Fatal(err)
			}
			_, err := build(t, Outside{}, args...)
			var problems config.Error
			if !errors.As(err, &problems) {
				t.Errorf("--%s: %v, want a problem", option, err)
				continue
			}
			want := regexp.MustCompile(`(?m)^--` + option + ": .*" + how + ".*" + command + ".*" + regexp.QuoteMeta(file))
			if !want.MatchString(err.Error()) {
				t.Errorf("--%s:\n%v\nwant %s", option, err, want)
			}
			if strings.Contains(err.Error(), "openssl") {
				t.Errorf("--%s: the text suggests a new key: %v", option, err)
			}
		}
	})
}

func TestFileThatAGroupCanChangeIsWarnedAbout(t *testing.T) {
	dir := t.TempDir()
	policy := write(t, dir, "policy.yaml", "users: {}\n")
	if err := os.Chmod(policy, 0o664); err != nil {
		t.Fatal(err)
	}
	r := start(t, nil, "--policy-file", policy)
	r.stop()
	<-r.log.done
	if all := strings.Join(r.log.all, "\n"); !strings.Contains(all, "chmod g-w") || !strings.Contains(all, policy) {
		t.Errorf("no warning in:\n%s", all)
	}
}

// TestReloadOfAnUntrustedFileDropsNothing: what was loaded stays in effect, status says
// so, and the file counts again once it is repaired. The new content would lock
// everybody out.
func TestReloadOfAnUntrustedFileDropsNothing(t *testing.T) {
	eachUntrust(t, func(t *testing.T, how string, change func(string) error, command string) {
		dir := t.TempDir()
		key := write(t, dir, "key", fixture.Key+"\n")
		policy := write(t, dir, "policy.yaml", "users:\n  alice: {\"dcos:secrets:list:default:/\": [read]}\n")
		r := start(t, nil, "--auth-secret-file", key, "--policy-file", policy)
		list := func(want int) {
			t.Helper()
			if status, text := r.request(t, "alice", "GET", "/secrets/v1/secret/default/?list=true", ""); status != want {
				t.Fatalf("%d %s, want %d", status, text, want)
			}
		}
		list(http.StatusOK)
		// Replaced in one step: the file is never both trusted and empty.
		for _, path := range []string{key, policy} {
			next := write(t, dir, "next", "")
			if err := errors.Join(change(next), os.Rename(next, path)); err != nil {
				t.Fatal(err)
			}
			r.log.until(t, `"error"`, how, command)
		}
		list(http.StatusOK)
		_, warnings := r.request(t, "root", "GET", "/secrets/v1/seal-status/default", "")
		for _, option := range []string{"auth-secret-file", "policy-file"} {
			if !strings.Contains(warnings, option+": ") {
				t.Errorf("status does not show %s: %s", option, warnings)
			}
		}
		if err := os.Rename(write(t, dir, "next", "users: {}\n"), policy); err != nil {
			t.Fatal(err)
		}
		r.log.until(t, "policy in effect")
		list(http.StatusForbidden)
	})
}

// TestDevelopmentSetupOfAnotherUserIsRefused: its key would make them superuser. Nothing
// of it is used or changed.
func TestDevelopmentSetupOfAnotherUserIsRefused(t *testing.T) {
	eachUntrust(t, func(t *testing.T, how string, change func(string) error, command string) {
		for _, what := range []string{devFolder, filepath.Join(devFolder, devAuthSecret)} {
			t.Chdir(t.TempDir())
			if err := errors.Join(os.Mkdir(devFolder, 0o700), os.WriteFile(filepath.Join(devFolder, devAuthSecret), []byte(fixture.Key), 0o600), change(what)); err != nil {
				t.Fatal(err)
			}
			_, err := build(t, Outside{Stdout: io.Discard}, "--dev")
			var problems config.Error
			if !errors.As(err, &problems) || !strings.Contains(err.Error(), how) || !strings.Contains(err.Error(), command) {
				t.Errorf("%s: %v, want a problem with %q", what, err, command)
			}
			if _, err := os.Stat(filepath.Join(devFolder, devToken)); err == nil {
				t.Errorf("%s: a token was made", what)
			}
		}
	})
}

// TestDevelopmentSetupInAForeignFolderIsRefused: its owner could put another setup in
// its place. A folder that is writable for everybody stands in for one of another user.
func TestDevelopmentSetupInAForeignFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if _, err := build(t, Outside{Stdout: io.Discard}, "--dev"); err == nil || !strings.Contains(err.Error(), "everybody can replace files") {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestDevelopmentSetupBehindALinkOfOneself is used: the link is the user's own.
func TestDevelopmentSetupBehindALinkOfOneself(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.Mkdir("elsewhere", 0o700), os.Symlink("elsewhere", devFolder)); err != nil {
		t.Fatal(err)
	}
	if _, err := build(t, Outside{Stdout: io.Discard}, "--dev"); err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(filepath.Join("elsewhere", devAuthSecret))
	if err != nil || len(token.FirstLine(secret)) != 64 {
		t.Errorf("%d bytes, %v", len(secret), err)
	}
}
