package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// result is how a command ended.
type result struct {
	status         int
	stdout, stderr string
}

func call(env map[string]string, stdin string, args ...string) result {
	var out, errs strings.Builder
	status := Main(base.Process{
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
	visit(newRoot(&base.Process{Getenv: func(string) string { return "" }}), nil)
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
// API, with the words that clients match.
func TestExitStatusOfRefusals(t *testing.T) {
	for _, tt := range []struct {
		code   int
		text   string
		status int
		hint   string
	}{
		{404, "the secret does not exist", 3, "secretstore list"},
		{404, "the secret does not exist: create it with PUT", 3, "secretstore list"},
		{403, "permission denied", 4, ""},
		{401, "no valid authentication token: send it", 4, "--token-file"},
		{503, "the secret store is sealed", 5, "secretstore unseal"},
		{503, "the secret store is not initialized", 1, "secretstore init"},
		{503, "the storage is unreachable", 1, ""},
		{409, "the secret already exists", 1, "secretstore update"},
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
		text, _, rest := strings.Cut(tt.text, ": ")
		if got.status != tt.status || got.stdout != "" || !strings.Contains(got.stderr, text) || !strings.Contains(got.stderr, tt.hint) ||
			rest && (strings.Contains(got.stderr, "PUT") || strings.Contains(got.stderr, "send it")) {
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
		p := &base.Process{Stderr: &errs, Getenv: func(k string) string { return map[string]string{"SECRETSTORE_TOKEN": tt.token}[k] }}
		if _, err := (&base.Remote{Servers: []string{tt.server}}).Connect(p); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(errs.String(), "unencrypted") != tt.warned {
			t.Errorf("%s with token %q: %s", tt.server, tt.token, errs.String())
		}
	}
}

// TestWrongServerIsNotAMissingSecret: a script may create what is missing.
func TestWrongServerIsNotAMissingSecret(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	got := call(map[string]string{"SECRETSTORE_SERVER": srv.URL}, "", "get", "a")
	if got.status != 1 || !strings.Contains(got.stderr, "not from a secret store") {
		t.Errorf("%+v", got)
	}
}

// TestExpiredTokenIsCalledExpired, and what is not a token is named.
func TestExpiredTokenIsCalledExpired(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"title":"401 Unauthorized","description":"no valid authentication token"}`)
	}))
	defer srv.Close()
	old, err := token.Sign("alice", time.Now().Add(-time.Hour), "", []byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	got := call(map[string]string{"SECRETSTORE_SERVER": srv.URL, "SECRETSTORE_TOKEN": old}, "", "get", "a")
	if got.status != 4 || !strings.Contains(got.stderr, "the token expired at ") || strings.Contains(got.stderr, old) {
		t.Errorf("%+v", got)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	got = call(map[string]string{"SECRETSTORE_SERVER": srv.URL, "SECRETSTORE_TOKEN_FILE": file}, "", "get", "a")
	if got.status != 2 || !strings.Contains(got.stderr, file+" does not contain a token") || strings.Contains(got.stderr, "hunter2") {
		t.Errorf("%+v", got)
	}
	for _, text := range []string{"token=" + old, "Bearer " + old, `"` + old + `"`, old + "\x01"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"SECRETSTORE_TOKEN_FILE": file, "SECRETSTORE_TOKEN": text} {
			got := call(map[string]string{"SECRETSTORE_SERVER": srv.URL, name: value}, "", "get", "a")
			if got.status != 2 || !strings.Contains(got.stderr, "does not contain a token, which has only letters") || strings.Contains(got.stderr, old) {
				t.Errorf("%s with %.8q…: %+v", name, text, got)
			}
		}
	}
	got = call(map[string]string{"SECRETSTORE_SERVER": srv.URL, "SECRETSTORE_TOKEN_FILE": file + "x"}, "", "get", "a")
	if got.status != 2 || !strings.Contains(got.stderr, "SECRETSTORE_TOKEN_FILE") {
		t.Errorf("%+v", got)
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
			if code >= 400 {
				fmt.Fprintf(w, `{"title":"%d","description":""}`, code)
			}
		}))
		got := call(map[string]string{"SECRETSTORE_SERVER": srv.URL}, "x", "put", "a")
		srv.Close()
		if got.status != tt.status || len(left) > 0 {
			t.Errorf("%s: status %d, %d answers not asked for; want %d: %s", tt.name, got.status, len(left), tt.status, got.stderr)
		}
	}
}

// TestHostileServerCannotDriveTheTerminalOrNameFiles answers as no Secret Store does.
func TestHostileServerCannotDriveTheTerminalOrNameFiles(t *testing.T) {
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
		if got.status != base.ExitFailure || got.stdout != "" || !strings.Contains(got.stderr, "is it a Secret Store?") || strings.ContainsRune(got.stderr, 0x1b) {
			t.Errorf("%q: %+v", args, got)
		}
		if _, err := os.Lstat(out); err == nil {
			t.Errorf("%q wrote something", args)
		}
	}
}

// TestTokenComesFromTheFirstSource: the flag beats the environment, and two tokens in
// the environment are refused.
func TestTokenComesFromTheFirstSource(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"flag": "\n  from.the.flag \nsecond line\n", "file": "from.the.file"} {
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
		{"SECRETSTORE_TOKEN", "", ""},
		{"SECRETSTORE_TOKEN_FILE", filepath.Join(dir, "file"), "token=from.the.file"},
	} {
		env[step.key] = step.value
		if call(env, "", "delete", "a"); got != step.want {
			t.Errorf("with %s: %q, want %q", step.key, got, step.want)
		}
	}
	env["SECRETSTORE_TOKEN"], got = "from-env", ""
	if out := call(env, "", "delete", "a"); out.status != 2 || got != "" || !strings.Contains(out.stderr, "SECRETSTORE_TOKEN and SECRETSTORE_TOKEN_FILE are both set") {
		t.Errorf("with both variables: %d, %q was sent: %s", out.status, got, out.stderr)
	}
	if call(env, "", "delete", "a", "--token-file", filepath.Join(dir, "flag")); got != "token=from.the.flag" {
		t.Errorf("with the flag: %q", got)
	}
}

// TestCompletedWordsAreValid: each word that is completed for a flag is in the help of
// that flag, or is a signal that exec takes.
func TestCompletedWordsAreValid(t *testing.T) {
	for _, flag := range []string{"server --security-mode", "server --log-level", "server --log-format"} {
		words := strings.Fields(flag)
		offered := call(nil, "", "__complete", words[0], words[1], "").stdout
		help := call(nil, "", words[0], "--help").stdout
		_, help, _ = strings.Cut(help, "  "+words[1]+" ")
		help, _, _ = strings.Cut(help, "\n")
		for line := range strings.Lines(offered) {
			if word := strings.TrimSpace(line); !strings.HasPrefix(word, ":") && !strings.Contains(help, word) {
				t.Errorf("%s: %s is not in %q", flag, word, help)
			}
		}
		if strings.Count(offered, "\n") < 3 {
			t.Errorf("%s: only %q", flag, offered)
		}
	}
	for _, flag := range []string{"--signal", "--ignore-signal"} {
		offered := call(nil, "", "__complete", "exec", flag, "").stdout
		for line := range strings.Lines(offered + "NONE") {
			word := strings.TrimSpace(line)
			if strings.HasPrefix(word, ":") {
				continue
			}
			got := call(nil, "", "exec", "--file", "/dev/shm/never-written=a", "--service", "/a", "--watch", flag, word, "--server", "nonsense", "--", "true")
			if refused := strings.Contains(got.stderr, "signal"); refused != (word == "NONE") {
				t.Errorf("%s %s: refused: %v: %s", flag, word, refused, got.stderr)
			}
		}
	}
}

// TestFilesAreCompletedOnlyForFiles asks for the value of each flag and argument.
func TestFilesAreCompletedOnlyForFiles(t *testing.T) {
	env := map[string]string{"SECRETSTORE_SERVER": "http://127.0.0.1:1", "HOME": t.TempDir()}
	for args, files := range map[string]bool{
		"check": true, "check a.json": true, "get --output": true, "put a -t": true, "create-sa-secret": true, "get a --token-file": true, "export -o": true,
		"exec --definition": true, "server --config": true,
		"get": false, "get a": false, "create-sa-secret a.pem": false, "create-sa-secret a.pem uid": false, "put a -v": false, "put a --label": false, "token --uid": false,
		"export": false, "import": false, "import --under": false, "get --timeout": false, "server --listen": false, "status": false, "diff a": false, "diff a b": false, "cp a": false,
	} {
		got := call(env, "", append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
		if strings.Contains(got.stdout, ":0\n") != files {
			t.Errorf("%s: files are completed: %v: %q", args, !files, got.stdout)
		}
	}
	if got := call(env, "", "__complete", "get", "--"); strings.Contains(got.stdout, "`") || !strings.Contains(got.stdout, "--token-file\tFILE with the token") {
		t.Errorf("descriptions: %q", got.stdout)
	}
}
