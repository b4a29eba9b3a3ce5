package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// script is a server whose answers come in order, and who says what was asked.
func script(t *testing.T, answers ...string) (url string, asked func() string) {
	t.Helper()
	var mu sync.Mutex
	var requests []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests = append(requests, strings.TrimSpace(r.Method+" "+string(body)))
		if len(answers) == 0 {
			t.Errorf("unexpected: %s %s", r.Method, r.URL)
			return
		}
		var code int
		next := answers[0]
		answers = answers[1:]
		if _, err := fmt.Sscan(next, &code); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, text, _ := strings.Cut(next, " ")
		if code/100 != 2 {
			text = fmt.Sprintf(`{"title":"%d","description":"%s"}`, code, text)
		}
		io.WriteString(w, text)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(requests, "; ")
	}
}

// TestExportOfOneSecretThatCannotBeReadFails: it is not in the list of its folder.
func TestExportOfOneSecretThatCannotBeReadFails(t *testing.T) {
	for _, tt := range []struct {
		answers []string
		status  int
		stderr  string
	}{
		{[]string{`200 {"array":[]}`, "500 a record is damaged", "500 a record is damaged"}, 1, "could not be exported"},
		{[]string{`200 {"array":[]}`, "403 permission denied"}, 4, "permission denied"},
		{[]string{`200 {"array":[]}`, "404 the secret does not exist"}, 3, "does not exist"},
	} {
		url, asked := script(t, tt.answers...)
		got := call(map[string]string{"SECRETSTORE_SERVER": url}, "", "export", "team", "--json", "--plaintext")
		if got.status != tt.status || !strings.Contains(got.stderr, tt.stderr) {
			t.Errorf("%v: status %d, %q, %q; asked %s", tt.answers, got.status, got.stdout, got.stderr, asked())
		}
	}
}

// TestImportGoesOnAfterAnOutage looks again before it writes again: what was
// written although the answer was lost counts as created, not as in the way.
func TestImportGoesOnAfterAnOutage(t *testing.T) {
	const text, binary = `{"a":{"value":"x"}}`, `{"a":{"value_base64":"eA==","description":"d"}}`
	for _, tt := range []struct {
		name, doc string
		args      string
		answers   []string
		asked     string
		status    int
		stdout    string
	}{
		{"away for a moment", text, "", []string{"503 the storage is unreachable", "404 does not exist", "503 the storage is unreachable", "404 does not exist", "201"},
			`GET; GET; PUT {"value":"x"}; GET; PUT {"value":"x"}`, 0, "1 created"},
		{"answer lost", text, "", []string{"404 does not exist", "503 outcome unknown", `200 {"value":"x"}`}, `GET; PUT {"value":"x"}; GET`, 0, "1 unchanged"},
		{"sealed", text, "", []string{"503 the secret store is sealed"}, "GET", 5, "0 created"},
		{"no token", text, "", []string{"401 no"}, "GET", 4, "0 created"},
		{"somebody was faster", text, "", []string{"404 does not exist", "409 already exists"}, `GET; PUT {"value":"x"}`, 1, "1 failed"},
		{"too large", text, "", []string{"404 does not exist", "413 too large"}, `GET; PUT {"value":"x"}`, 1, "1 failed"},
		{"described bytes", binary, "", []string{"404 does not exist", "201"}, `GET; PUT {"value_base64":"eA==","description":"d"}`, 0, "1 created"},
		{"another description", `{"a":{"value":"x","description":"new"}}`, "--update", []string{`200 {"value":"x","description":"old"}`, "204"},
			`GET; PATCH {"value":"x","description":"new"}`, 0, "1 updated"},
		{"dry run, not readable", text, "--dry-run", []string{"403 no"}, "GET", 0, "1 would be created"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, asked := script(t, tt.answers...)
			args := append([]string{"import", "--from-json", "-"}, strings.Fields(tt.args)...)
			got := call(map[string]string{"SECRETSTORE_SERVER": url}, tt.doc, args...)
			if got.status != tt.status || !strings.Contains(got.stdout, tt.stdout) || asked() != tt.asked {
				t.Errorf("status %d, %q, %q; asked %s, want %s", got.status, got.stdout, got.stderr, asked(), tt.asked)
			}
		})
	}
}
