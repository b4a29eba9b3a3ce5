package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"secretstore/internal/atomicfile"
)

// result is how a command ended.
type result struct {
	status         int
	stdout, stderr string
}

func call(env map[string]string, stdin string, args ...string) result {
	var out, errs strings.Builder
	status := Main(Process{
		Args: args, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
		Getenv: func(k string) string { return env[k] },
	})
	return result{status, out.String(), errs.String()}
}

func TestEveryCommandHasAHelpWithAnExample(t *testing.T) {
	var visit func(c *cobra.Command, path []string)
	visit = func(c *cobra.Command, path []string) {
		got := call(nil, "", append(path, "--help")...)
		if got.status != 0 || got.stderr != "" {
			t.Errorf("%s --help: status %d, stderr %q", c.CommandPath(), got.status, got.stderr)
		}
		_, example, found := strings.Cut(got.stdout, "Examples:\n")
		if !found || !strings.HasPrefix(example, "  ") || !strings.Contains(example, "secretstore ") {
			t.Errorf("%s --help has no example:\n%s", c.CommandPath(), got.stdout)
		}
		if c.Short == "" {
			t.Errorf("%s has no short description", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub, append(path, sub.Name()))
		}
	}
	visit(newRoot(&Process{Getenv: func(string) string { return "" }}), nil)
}

// TestBadUsageIsStatus2 never reaches a server: there is none.
func TestBadUsageIsStatus2(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"", "frob", "get", "get a b", "get a --frob", "list a b", "delete", "create", "put a -v x -f y", "put a -t nosuch", "put a -f nosuch",
		"get ../x", "get .", "get a%2Fb", "put a:b -v x", "delete /", "list a//../b", "check", "check nosuch", "check a.json --frob", "status x", "seal x", "auto-unseal x", "unseal x",
		"init", "init --pgp-key nosuch", "init --pgp-key " + empty, "unseal --key-file nosuch", "unseal --key-file " + empty,
		"token", "token --uid x", "token --uid x --secret-file nosuch", "version x", "completion", "completion tcsh",
		"get x --server nonsense", "get x --server ftp://h", "get x --server http://user:pw@h", "get x --token-file nosuch", "get x --token-file " + empty,
		"get x --ca-cert nosuch", "get x --ca-cert " + empty, "get x --timeout soon", "keys", "keys frob", "keys doctor x",
		"rekey", "rekey --pgp-key nosuch", "rekey --verify --cancel", "rotate x", "reinit", "reinit --wipe", "reinit --yes --pgp-key " + empty,
		"reinit --wipe --storage memory: --pgp-key " + empty, "recover", "recover --gpg -o x", "recover --storage bolt: -o x", "recover --storage bolt:x --path a:b -o x",
		"unseal --print-share", "unseal --share-from nosuch", "unseal --share-from " + empty, "unseal --reset --key-file x", "server x", "server --frob", "server --config nosuch",
		"history", "rollback a", "rollback a --to 0", "rollback a --to x", "undelete", "undelete a b", "get a --version 0", "get a --version -1", "delete a:b --purge",
	} {
		got := call(nil, "", strings.Fields(args)...)
		if got.status != 2 || got.stderr == "" || got.stdout != "" {
			t.Errorf("%q: status %d, stdout %q, stderr %q; want 2 and a reason on stderr", args, got.status, got.stdout, got.stderr)
		}
		if strings.Contains(got.stderr, "pw@") {
			t.Errorf("%q: a password is repeated", args)
		}
	}
}

// TestExitStatusOfRefusals has a server that refuses in each of the ways of the
// API, with the words that the contract fixes.
func TestExitStatusOfRefusals(t *testing.T) {
	for _, tt := range []struct {
		code   int
		text   string
		status int
		hint   string
	}{
		{404, "the secret does not exist", 3, ""},
		{403, "permission denied", 4, ""},
		{401, "no valid authentication token", 4, "--token-file"},
		{503, "the secret store is sealed", 5, "secretstore unseal"},
		{503, "the secret store is not initialized", 1, "secretstore init"},
		{503, "the storage is unreachable", 1, ""},
		{409, "already exists", 1, "secretstore update"},
		{400, "bad", 1, ""},
		{413, "too large", 1, ""},
		{500, "internal error", 1, ""},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(tt.code)
			fmt.Fprintf(w, `{"title":"%d %s","description":"%s"}`, tt.code, http.StatusText(tt.code), tt.text)
		}))
		got := call(map[string]string{"SECRETSTORE_SERVER": srv.URL}, "", "get", "a")
		srv.Close()
		if got.status != tt.status || got.stdout != "" || !strings.Contains(got.stderr, tt.text) || !strings.Contains(got.stderr, tt.hint) {
			t.Errorf("%d %s: status %d, stdout %q, stderr %q; want status %d and hint %q", tt.code, tt.text, got.status, got.stdout, got.stderr, tt.status, tt.hint)
		}
	}
}

func TestUnreachableServerIsAFailureWithAHint(t *testing.T) {
	got := call(nil, "", "get", "a", "--server", "http://127.0.0.1:1")
	if got.status != 1 || !strings.Contains(got.stderr, "--server") {
		t.Errorf("status %d, stderr %q", got.status, got.stderr)
	}
}

func TestHungServerIsGivenUpOn(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	got := call(nil, "", "get", "a", "--server", srv.URL, "--timeout", "50ms")
	if got.status != 1 || !strings.Contains(got.stderr, "--timeout") {
		t.Errorf("status %d, stderr %q", got.status, got.stderr)
	}
}

// TestTokenInTheClearIsWarnedAbout sends nothing: the warning comes before.
func TestTokenInTheClearIsWarnedAbout(t *testing.T) {
	for _, tt := range []struct {
		server, token string
		warned        bool
	}{
		{"http://192.0.2.1:1", "x", true}, {"http://192.0.2.1:1", "", false}, {"https://192.0.2.1:1", "x", false},
		{"http://127.0.0.1:1", "x", false}, {"http://localhost:1", "x", false}, {"http://[::1]:1", "x", false},
	} {
		var errs strings.Builder
		p := &Process{Stderr: &errs, Getenv: func(k string) string { return map[string]string{"SECRETSTORE_TOKEN": tt.token}[k] }}
		if _, err := (&remoteFlags{server: tt.server}).connect(p); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(errs.String(), "unencrypted") != tt.warned {
			t.Errorf("%s with token %q: %s", tt.server, tt.token, errs.String())
		}
	}
}

// TestTokenComesFromTheFirstSource: flag, then the file that the environment
// names, then the token in the environment.
func TestTokenComesFromTheFirstSource(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"flag": "\n  from-flag \nsecond line\n", "file": "from-file"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
	defer srv.Close()
	env := map[string]string{"SECRETSTORE_SERVER": srv.URL}
	for _, step := range []struct{ key, value, want string }{
		{"", "", ""},
		{"SECRETSTORE_TOKEN", " from-env\n", "token=from-env"},
		{"SECRETSTORE_TOKEN_FILE", filepath.Join(dir, "file"), "token=from-file"},
	} {
		env[step.key] = step.value
		if call(env, "", "delete", "a"); got != step.want {
			t.Errorf("with %s: %q, want %q", step.key, got, step.want)
		}
	}
	if call(env, "", "delete", "a", "--token-file", filepath.Join(dir, "flag")); got != "token=from-flag" {
		t.Errorf("with the flag: %q", got)
	}
}

// TestPutWhileSomebodyElseWrites plays the races of put: the answers of create
// and update come from a script, in order.
func TestPutWhileSomebodyElseWrites(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []string // method and status
		status  int
	}{
		{"new", []string{"PUT 201"}, 0},
		{"there", []string{"PUT 409", "PATCH 204"}, 0},
		{"deleted in between", []string{"PUT 409", "PATCH 404", "PUT 201"}, 0},
		{"may update only", []string{"PUT 403", "PATCH 204"}, 0},
		{"may not create what is missing", []string{"PUT 403", "PATCH 404"}, 4},
		{"may nothing", []string{"PUT 403", "PATCH 403"}, 4},
		{"too large", []string{"PUT 413"}, 1},
	} {
		left := tt.answers
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var method string
			code := http.StatusTeapot
			if len(left) > 0 {
				fmt.Sscan(left[0], &method, &code)
				left = left[1:]
			}
			if body, err := io.ReadAll(r.Body); method != r.Method || string(body) != `{"value":"x"}` || err != nil {
				t.Errorf("%s: unexpected %s with %s", tt.name, r.Method, body)
			}
			w.WriteHeader(code)
		}))
		got := call(map[string]string{"SECRETSTORE_SERVER": srv.URL}, "x", "put", "a")
		srv.Close()
		if got.status != tt.status || len(left) > 0 {
			t.Errorf("%s: status %d, %d answers not asked for; want %d: %s", tt.name, got.status, len(left), tt.status, got.stderr)
		}
	}
}

func TestOutputFileIsPrivateAndWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	if err := os.WriteFile(path, []byte("old and longer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(path, []byte("new")); err != nil {
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
	if err := writeFile(filepath.Join(dir, "nosuch", "out"), []byte("x")); err == nil {
		t.Error("a missing folder is no error")
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

// TestGPGOutputNeverReachesTheTerminal runs a stand-in that prints a key: only
// the caller gets it.
func TestGPGOutputNeverReachesTheTerminal(t *testing.T) {
	script := filepath.Join(t.TempDir(), "gpg")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncat\necho note >&2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	key, err := gpgDecrypt(context.Background(), &Process{Stdout: &out, Stderr: &errs}, script, "63616e6172790a")
	if err != nil || key != "canary" || out.String() != "" || errs.String() != "note\n" {
		t.Errorf("key %q, %v; stdout %q, stderr %q", key, err, out.String(), errs.String())
	}
	if _, err := gpgDecrypt(context.Background(), &Process{}, script, "not hex"); err == nil {
		t.Error("a key that is not hex is accepted")
	}
}

func TestWarningsStayOnOneLine(t *testing.T) {
	if got := oneLine("policy-file: 2 problems:\n\tline 1: x\r\n\x1b[2Jline 2: y"); got != "policy-file: 2 problems:; line 1: x; [2Jline 2: y" {
		t.Errorf("%q", got)
	}
}

// TestAnOutputThatDidNotReachTheDiskReplacesNothing closes the file too early. A
// full disk, too, may show only at the end.
func TestAnOutputThatDidNotReachTheDiskReplacesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := openOutput(&Process{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.f.Finish(atomicfile.Keep, atomicfile.Keep, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := out.commit(); err == nil {
		t.Error("a failure to write is none")
	}
	out.discard()
	got, err := os.ReadFile(path)
	left, err2 := os.ReadDir(filepath.Dir(path))
	if err != nil || err2 != nil || string(got) != "old" || len(left) != 1 {
		t.Errorf("the file holds %q, %v; %d files, %v", got, err, len(left), err2)
	}
}

// TestAHostileServerDrivesNoTerminalAndNamesNoFileElsewhere answers with what no
// Secret Store says.
func TestAHostileServerDrivesNoTerminalAndNamesNoFileElsewhere(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case q.Get("list") == "true" && strings.Contains(r.URL.Path, "escape"):
			fmt.Fprint(w, `{"array":["a\u001b[2J"]}`)
		case q.Get("list") == "true":
			fmt.Fprint(w, `{"array":["../../up"]}`)
		case q.Get("versions") == "true":
			fmt.Fprint(w, `{"versions":[],"deleted":null}`)
		case r.Method == http.MethodPost:
			fmt.Fprint(w, `{"token":"a.b.c\u001b[2J"}`)
		default:
			fmt.Fprint(w, `{"value":"v"}`)
		}
	}))
	defer srv.Close()
	out := filepath.Join(t.TempDir(), "out")
	for _, args := range [][]string{
		{"list", "escape"}, {"list"}, {"history", "a"}, {"rollback", "a", "--to", "1"}, {"task-token", "--service", "/a"},
		{"export", "--plaintext", "-o", out}, {"export", "--json", "--plaintext", "-o", out}, {"export", "team", "--plaintext", "-o", out},
	} {
		got := call(nil, "", append(args, "--server", srv.URL)...)
		if got.status != exitFailure || got.stdout != "" || !strings.Contains(got.stderr, "is it a Secret Store?") || strings.ContainsRune(got.stderr, 0x1b) {
			t.Errorf("%q: %+v", args, got)
		}
		if _, err := os.Lstat(out); err == nil {
			t.Errorf("%q wrote something", args)
		}
	}
}

func TestOutputReplacesNoDeviceAndFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	target, link, pipe := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(target, []byte("old"), 0o644), os.Symlink(target, link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir, filepath.Join(link, "x")} {
		if err := writeFile(path, []byte("secret")); err == nil {
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
	if err := writeFile(pipe, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "secret<nil>" {
		t.Errorf("the pipe got %s", got)
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe has become %v, %v", info, err)
	}
}
