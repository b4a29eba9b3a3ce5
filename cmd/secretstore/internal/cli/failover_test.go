package cli

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// dropping is a server that reads requests, and closes their connections.
func dropping(t *testing.T) string {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestLostAnswerIsAnUnknownOutcome for a write, and for whatever may have been a use
// of a task token. Another server is not asked.
func TestLostAnswerIsAnUnknownOutcome(t *testing.T) {
	part := base64.RawURLEncoding.EncodeToString
	counted := part([]byte(`{"alg":"HS256"}`)) + "." + part([]byte(`{"uid":"u","service":"/a","uses":1}`)) + ".c2ln"
	for name, tt := range map[string]struct {
		token string
		args  []string
	}{
		"create":           {"", []string{"create", "a", "-v", "x"}},
		"delete":           {"", []string{"delete", "a"}},
		"task-token":       {"", []string{"task-token", "--service", "/a"}},
		"get, counted":     {counted, []string{"get", "a"}},
		"render, counted":  {counted, []string{"render", "--file", "/dev/shm/never-written=a"}},
		"exec, counted":    {counted, []string{"exec", "--env", "A=a", "--", "true"}},
		"exec, with copy":  {counted, []string{"exec", "--env", "A=a", "--max-stale", "1h", "--", "true"}},
		"one server alone": {"", []string{"create", "a", "-v", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			first := dropping(t)
			other, asked := script(t)
			servers := first + "," + other
			if name == "one server alone" {
				servers = first
			}
			env := map[string]string{"SECRETSTORE_SERVER": servers, "SECRETSTORE_TOKEN": tt.token, "XDG_RUNTIME_DIR": t.TempDir()}
			got := call(env, "", tt.args...)
			if got.status != 1 || !strings.Contains(got.stderr, "outcome unknown on "+first) || asked() != "" {
				t.Errorf("status %d, %q; the other was asked %q", got.status, got.stderr, asked())
			}
		})
	}
}

// TestNextServerIsAsked by commands, and an error names the server that it is about.
func TestNextServerIsAsked(t *testing.T) {
	sealed, _ := script(t, "503 the secret store is sealed: unseal it", "503 the secret store is sealed: unseal it")
	other, asked := script(t, `200 {"value":"x"}`, "403 no")
	got := call(nil, "", "get", "a", "--server", dropping(t), "--server", sealed, "--server", other)
	if got.status != 0 || got.stdout != "x" || got.stderr != "" || asked() != "GET" {
		t.Errorf("%+v; asked %s", got, asked())
	}
	got = call(nil, "", "get", "a", "--server", sealed, "--server", other)
	if got.status != 4 || !strings.Contains(got.stderr, other+": no") {
		t.Errorf("%+v", got)
	}
}

// TestSealedEverywhereIsSaidForEachServer.
func TestSealedEverywhereIsSaidForEachServer(t *testing.T) {
	a, _ := script(t, "503 the secret store is sealed: use PUT")
	b, _ := script(t, "503 the secret store is sealed: use PUT")
	got := call(map[string]string{"SECRETSTORE_SERVER": a + "," + b}, "", "get", "a")
	want := "secretstore: " + a + ": the secret store is sealed; " + b + ": the secret store is sealed\n"
	if got.status != 5 || !strings.HasPrefix(got.stderr, want) {
		t.Errorf("%+v, want %q", got, want)
	}
}

// TestWrongServerDoesNotHandOver: an address that is not a secret store is a
// mistake, which another server must not hide.
func TestWrongServerDoesNotHandOver(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	other, asked := script(t)
	got := call(nil, "", "get", "a", "--server", srv.URL, "--server", other)
	if got.status != 1 || !strings.Contains(got.stderr, srv.URL+": 404") || asked() != "" {
		t.Errorf("%+v", got)
	}
}
