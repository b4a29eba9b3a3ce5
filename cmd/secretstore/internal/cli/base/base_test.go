package base

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"secretstore/api/client"
)

// isUsage reports whether err is a mistake of the user.
func isUsage(err error) bool {
	_, ok := errors.AsType[*usageError](err)
	return ok
}

func TestOutputFileIsPrivateAndWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	if err := os.WriteFile(path, []byte("old and longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	info, err2 := os.Stat(path)
	if err != nil || err2 != nil || string(got) != "new" || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, %v, mode %v", got, err, info.Mode())
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v is left, %v", left, err)
	}
	if err := WriteFile(filepath.Join(dir, "nosuch", "out"), []byte("x")); err == nil {
		t.Error("a missing folder is not an error")
	}
}

func TestPublicKeysReachTheServerAsBase64(t *testing.T) {
	p := &Process{}
	dir := t.TempDir()
	binary := "\x99\x01\x0d\x04binary"
	armored := "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc=\n-----END PGP PUBLIC KEY BLOCK-----\n"
	for name, text := range map[string]string{
		"binary": binary, "armored": armored,
		"base64 of binary":  base64.StdEncoding.EncodeToString([]byte(binary)) + " \n",
		"base64 of armored": base64.StdEncoding.EncodeToString([]byte(armored)),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		sent, err := readPublicKey(p, path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := base64.StdEncoding.DecodeString(strings.TrimSpace(sent))
		want := binary
		if strings.Contains(name, "armored") {
			want = armored
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestWarningsStayOnOneLine(t *testing.T) {
	if got := OneLine("policy-file: 2 problems:\n\tline 1: x\r\n\x1b[2Jline 2: y"); got != "policy-file: 2 problems:; line 1: x; [2Jline 2: y" {
		t.Errorf("%q", got)
	}
}

func TestOutputDoesNotReplaceADeviceOrFollowALink(t *testing.T) {
	dir := t.TempDir()
	target, link, pipe := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(target, []byte("old"), 0o644), os.Symlink(target, link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir, filepath.Join(link, "x")} {
		if err := WriteFile(path, []byte("secret")); err == nil {
			t.Errorf("%s is written to", path)
		}
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "old" {
		t.Errorf("the target of a link holds %q, %v", got, err)
	}
	read := make(chan string)
	go func() {
		got, err := os.ReadFile(pipe)
		read <- fmt.Sprint(string(got), err)
	}()
	if err := WriteFile(pipe, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "secret<nil>" {
		t.Errorf("the pipe got %s", got)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe has become %v, %v", info, err)
	}
}

// TestOutputOfAnotherUserIsRefused: a user who lets root write into a pipe of theirs,
// or into a folder of theirs, reads the secret. Only root can try that.
func TestOutputOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can give files away; package atomicfile tests the rules for this user")
		return
	}
	dir := t.TempDir()
	const theirs = 12345
	pipe, file, folder := filepath.Join(dir, "pipe"), filepath.Join(dir, "file"), filepath.Join(dir, "folder")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o666), os.Chmod(pipe, 0o666), os.WriteFile(file, []byte("old"), 0o666), os.Mkdir(folder, 0o755),
		os.Chown(pipe, theirs, theirs), os.Chown(file, theirs, theirs), os.Chown(folder, theirs, theirs)); err != nil {
		t.Fatal(err)
	}
	// With a reader: only the check keeps the secret from them.
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	t.Chdir(folder)
	for _, path := range []string{pipe, file, filepath.Join(folder, "x"), "x", "../pipe"} {
		if err := WriteFile(path, []byte("secret")); !isUsage(err) {
			t.Errorf("%s: %v, want a usage error", path, err)
		}
	}
	if got, err := io.ReadAll(reader); err != nil || len(got) > 0 {
		t.Errorf("the pipe got %q, %v", got, err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "old" {
		t.Errorf("the file holds %q, %v", got, err)
	}
}

// TestOutputGoesToAnOpenFile that the shell names, for >(program) and the like.
func TestOutputGoesToAnOpenFile(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/dev/fd/%d", "/proc/self/fd/%d"} {
		if err := WriteFile(fmt.Sprintf(path, w.Fd()), []byte("secret ")); err != nil {
			t.Error(err)
		}
	}
	w.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "secret secret " {
		t.Errorf("%q, %v", got, err)
	}
	for _, path := range []string{"/dev/fd/2000000", "/dev/fd/x", "/dev/fd/-1", "/dev/fd/"} {
		if err := WriteFile(path, []byte("secret")); !isUsage(err) {
			t.Errorf("%s: %v, want a usage error", path, err)
		}
	}
}

func TestProgressIsShownOnTerminalsOnly(t *testing.T) {
	var errs strings.Builder
	(&Progress{p: &Process{Stderr: &errs}, on: true}).Bar(15, 30)
	if want := "\r\x1b[K[###############               ] 15 of 30"; errs.String() != want {
		t.Errorf("%q", errs.String())
	}
	errs.Reset()
	NewProgress(&Process{Stderr: &errs}).Bar(1, 2)
	if errs.String() != "" {
		t.Errorf("%q without a terminal", errs.String())
	}
}

func TestServersComeFromTheFirstSource(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "secretstore"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	p := &Process{Getenv: func(k string) string { return env[k] }}
	check := func(flags []string, want ...string) {
		t.Helper()
		got, err := NamedServers(p, flags)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	check(nil, defaultServer)
	env["XDG_CONFIG_HOME"] = dir
	check(nil, defaultServer)
	file := filepath.Join(dir, "secretstore", "config.yaml")
	if err := os.WriteFile(file, []byte("servers:\n- https://a\n- https://b/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(nil, "https://a", "https://b")
	env["SECRETSTORE_SERVER"] = "https://c, https://d,https://c/"
	check(nil, "https://c", "https://d")
	check([]string{"https://e", "https://f,https://g"}, "https://e", "https://f", "https://g")
	if _, err := NamedServers(p, []string{"https://e", "nonsense"}); err == nil {
		t.Error("nonsense is taken")
	}
	env["SECRETSTORE_SERVER"] = ""
	for _, text := range []string{"server: https://a", "servers: {a: b}", "[", "servers: [https://u:pw@a]"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := NamedServers(p, nil); err == nil || strings.Contains(err.Error(), "pw@") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// FuzzUserConfig checks that no text makes the parser panic or return servers with
// an error.
func FuzzUserConfig(f *testing.F) {
	f.Add([]byte("servers: [https://a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if cfg, err := parseUserConfig(data); err != nil && len(cfg.Servers) > 0 {
			t.Errorf("%v with %v", cfg, err)
		}
	})
}

// TestAnErrorDoesNotDriveTheTerminal: it may have the words of a hostile server, such
// as the names in its certificate.
func TestAnErrorDoesNotDriveTheTerminal(t *testing.T) {
	const hostile = "evil\x1b[2J\u009b2J\x07"
	for _, err := range []error{
		Failed(errors.New(hostile)),
		Failed(&Hinted{Err: fmt.Errorf("%w: %s", client.ErrUninitialized, hostile), Hint: hostile}),
		Failed(&WithStatus{Status: 3, Err: errors.New(hostile)}),
		Failed(&url.Error{Op: "Get", URL: "https://127.0.0.1/", Err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{hostile}}, Host: "a"}}),
		Usagef("%s", hostile),
	} {
		var out strings.Builder
		Report(&out, &cobra.Command{}, err)
		if text := out.String(); !strings.Contains(text, "evil") || strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
			t.Errorf("%T: %q", err, text)
		}
	}
}

// TestAStoreThatGetsItsKeyIsNotToBeInitialized by the user of the server.
func TestAStoreThatGetsItsKeyIsNotToBeInitialized(t *testing.T) {
	for text, want := range map[string]string{
		"the secret store is not initialized yet: the server is creating the bootstrap key": "see: secretstore status",
		"the secret store is not initialized: a superuser can do it":                        "Initialize it with: secretstore init",
	} {
		var out strings.Builder
		if status := Report(&out, &cobra.Command{}, Failed(&client.Error{Status: 503, Description: text})); status != ExitFailure || !strings.Contains(out.String(), want) {
			t.Errorf("%q: %d, %q", text, status, out.String())
		}
	}
}

// TestOnlyASecretThatExistsIsToBeReplaced has two conflicts: the advice to replace
// the value is for one of them.
func TestOnlyASecretThatExistsIsToBeReplaced(t *testing.T) {
	for text, advised := range map[string]bool{
		"the secret already exists: replace its value with PATCH":     true,
		"this server is making another backup: wait until it is done": false,
	} {
		var out strings.Builder
		status := Report(&out, &cobra.Command{}, Failed(&client.Error{Status: 409, Description: text}))
		if status != ExitFailure || strings.Contains(out.String(), "Replace its value") != advised {
			t.Errorf("%q: status %d, %q", text, status, out.String())
		}
	}
}
