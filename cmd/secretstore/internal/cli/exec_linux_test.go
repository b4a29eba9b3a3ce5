package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"secretstore/api/client"
	"secretstore/api/wire"
)

const canary = "kanarienvogel"

// memory returns a new folder on a tmpfs.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "secretstore-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// answering starts a server that gives every secret the same value.
func answering(t *testing.T, s wire.ResolvedSecret) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req wire.ResolveRequest
		if r.URL.Path != "/secrets/v1/resolve/default" { // a read of --watch
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if err != nil || json.Unmarshal(body, &req) != nil {
			t.Errorf("%s, %v", body, err)
		}
		out := wire.Resolved{Service: req.Service, Secrets: map[string]wire.ResolvedSecret{}}
		for name := range req.Secrets {
			out.Secrets[name] = s
		}
		doc, err := json.Marshal(out)
		if err != nil {
			t.Error(err)
		}
		w.Write(doc)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func saying(t *testing.T, status int, body string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func text64(s string) wire.ResolvedSecret { return wire.ResolvedSecret{Value: &s} }

// TestNoFailureOfExecOrRenderLeavesAValueAnywhere makes each of them fail after
// the values have come, and searches what was printed and written. A program that
// is run all the same takes the place of the test: it is false, so that the test
// fails.
func TestNoFailureOfExecOrRenderLeavesAValueAnywhere(t *testing.T) {
	home := t.TempDir() // also the folder for temporary files
	t.Setenv("TMPDIR", home)
	work := filepath.Join(home, "work")
	script := filepath.Join(home, "script")
	if err := errors.Join(os.Mkdir(work, 0o700), os.WriteFile(script, []byte("echo\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(work)
	large := text64(strings.Repeat(canary, 11000)) // 143 kB
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	for _, tt := range []struct {
		name   string
		server string
		status int
		args   string
	}{
		{"does not run", answering(t, text64(canary)), 126, "exec --env A=a --file MEMORY/new/a=a -- " + script},
		{"does not run, watched", answering(t, text64(canary)), 126, "exec --watch --restart --env A=a --file MEMORY/new/a=a -- " + script},
		{"does not run, with a copy", answering(t, text64(canary)), 126, "exec --max-stale 1h --env A=a --file MEMORY/a=a -- " + script},
		{"binary variable", answering(t, wire.ResolvedSecret{Bytes: []byte(canary)}), 1, "exec --env A=a --file MEMORY/a=a -- false"},
		{"NUL in a variable", answering(t, text64(canary+"\x00"+canary)), 1, "exec --env A=a --file MEMORY/a=a -- false"},
		{"large variable", answering(t, large), 1, "exec --env A=a -- false"},
		{"large environment", answering(t, text64(strings.Repeat(canary, 10000)[:130000])), 126, "exec" + manyVariables(80) + " --file MEMORY/a=a -- /bin/false"},
		{"cut off", saying(t, 200, `{"service":"/x","secrets":{"a":{"value":"`+canary), 1, "exec --env A=a -- false"},
		{"other names", saying(t, 200, `{"service":"/x","secrets":{"zz":{"value":"`+canary+`"}}}`), 1, "render --file MEMORY/a=a"},
		{"wrong type", saying(t, 200, `{"service":"/x","secrets":{"zz":["`+canary+`"]}}`), 1, "render --file MEMORY/a=a"},
		{"no JSON", saying(t, 200, canary), 1, "render --file MEMORY/a=a"},
		{"two answers", saying(t, 200, `[{"service":"`+canary+`"},{}]`), 1, "render --file MEMORY/a=a"},
		{"refused with a page", saying(t, 500, canary), 1, "render --file MEMORY/a=a"},
		{"owner of nobody", answering(t, text64(canary)), 1, "render --file MEMORY/a=a --file MEMORY/b/b=a --file-owner 2147483647:2147483647"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := memory(t)
			if tt.name == "owner of nobody" && os.Getuid() == 0 {
				tt.args = strings.Replace(tt.args, "MEMORY/b/b", "/proc/self/b", 1) // root may give files away
				tt.status = 2
			}
			args := strings.Fields(strings.ReplaceAll(tt.args, "MEMORY", dir))
			args = append([]string{args[0], "--service", "/x"}, args[1:]...)
			copies := filepath.Join(dir, "copies")
			got := call(map[string]string{"SECRETSTORE_SERVER": tt.server, "XDG_RUNTIME_DIR": copies}, "", args...)
			if got.status != tt.status || got.stderr == "" {
				t.Errorf("status %d, want %d; stderr %q", got.status, tt.status, got.stderr)
			}
			for what, text := range map[string]string{"standard output": got.stdout, "standard error": got.stderr} {
				if strings.Contains(text, canary) || strings.Contains(text, encoded) {
					t.Errorf("%s holds the value: %.300q", what, text)
				}
			}
			if strings.Contains(tt.args, "--max-stale") {
				if err := os.RemoveAll(copies); err != nil { // where it may be
					t.Fatal(err)
				}
			}
			for _, root := range []string{dir, home} {
				noValueIn(t, root)
			}
		})
	}
}

func manyVariables(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " --env A%d=a%d", i, i)
	}
	return b.String()
}

func noValueIn(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), canary) || strings.Contains(d.Name(), ".secretstore") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestMistakesAreFoundBeforeARequest: a token may be good for one use only.
func TestMistakesAreFoundBeforeARequest(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer srv.Close()
	dir := memory(t)
	for args, status := range map[string]int{
		"exec": 2, "exec --env A=a": 2, "exec -- false": 2, "exec --env A -- false": 2, "exec --env =a -- false": 2, "exec --env 1A=a -- false": 2, "exec --env A-B=a -- false": 2,
		"exec --env A=../a -- false": 2, "exec --env A=a --env A=b -- false": 2, "exec --file DIR/a=a --file DIR/./a=b -- false": 2, "exec --file =a -- false": 2,
		"exec --file a -- false": 2, "exec --env A=a --file-mode 0888 -- false": 2, "exec --env A=a --file-mode 4755 -- false": 2, "exec --env A=a --file-owner root -- false": 2,
		"exec --env A=a --watch -- false": 2, "exec --file DIR/a=a --signal HUP -- false": 2, "exec --file DIR/a=a --watch --signal FROB -- false": 2,
		"exec --file DIR/a=a --watch --signal HUP --restart -- false": 2, "exec --file DIR/a=a --watch --interval 1ms -- false": 2, "exec --env A=a --max-stale -1s -- false": 2,
		"exec --env A=a -- nosuchprogram": 127, "exec --env A=a -- ./nosuchprogram": 127, "exec --env A=a -- /dev": 126, "exec --env A=a -- /etc/passwd": 126,
		"exec --file /proc/a=a -- false": 2, "exec --definition nosuch -- false": 2, "exec --container x --env A=a -- false": 2, "render": 2, "render --env A=a": 2, "render x": 2,
		"exec --env A=a --service ../x -- false": 2, "exec --env A=a --token-file nosuch -- false": 2,
	} {
		list := strings.Fields(strings.ReplaceAll(args, "DIR", dir))
		if !strings.Contains(args, "--service") {
			list = append([]string{list[0], "--service", "/x"}, list[1:]...)
		}
		got := call(map[string]string{"SECRETSTORE_SERVER": srv.URL}, "", list...)
		if got.status != status || got.stdout != "" || got.stderr == "" {
			t.Errorf("%s: status %d, want %d: %q", args, got.status, status, got.stderr)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

// TestCopyIsUsedOnlyForAnUnreachableServer, and not for one that refuses.
func TestCopyIsUsedOnlyForAnUnreachableServer(t *testing.T) {
	for _, tt := range []struct {
		code  int
		words string
		away  bool
	}{
		{503, "the storage is unreachable", true}, {502, "bad gateway", true}, {504, "timeout", true},
		{503, "the secret store is sealed", false}, {503, "not initialized", false}, {500, "internal error", false},
		{401, "no", false}, {403, "no", false}, {404, "no", false}, {422, "Secret /x is not accessible", false},
	} {
		err := &client.Error{Status: tt.code, Description: tt.words}
		if got := client.Temporary(fmt.Errorf("wrapped: %w", err)); got != tt.away {
			t.Errorf("%d %s: %v", tt.code, tt.words, got)
		}
	}
}

// TestRefusalRemovesTheCopy has the server answer once, then say no.
func TestRefusalRemovesTheCopy(t *testing.T) {
	dir := memory(t)
	env := map[string]string{"XDG_RUNTIME_DIR": dir}
	copies := filepath.Join(dir, "secretstore")
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing fails below
		var req wire.ResolveRequest
		out := wire.Resolved{Secrets: map[string]wire.ResolvedSecret{}}
		if err := json.Unmarshal(body, &req); err != nil {
			t.Error(err)
		}
		for name := range req.Secrets {
			out.Secrets[name] = text64(canary)
		}
		doc, err := json.Marshal(out)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(status)
		w.Write(doc)
	}))
	defer srv.Close()
	env["SECRETSTORE_SERVER"] = srv.URL
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ status, copies int }{{200, 1}, {403, 0}} {
		status = step.status
		call(env, "", "exec", "--service", "/x", "--max-stale", "1h", "--env", "A=a", "--", script) // it does not run
		all, err := os.ReadDir(copies)
		if err != nil || len(all) != step.copies {
			t.Errorf("after %d: %v, %v", step.status, all, err)
		}
	}
}
