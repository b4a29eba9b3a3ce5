package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// secretServer starts a server that answers with JSON, and counts deletes.
func secretServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) (url string, deletes *atomic.Int64) {
	t.Helper()
	deletes = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			deletes.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, deletes
}

// TestWriteToAnOlderServerNamesNoVersion has a server that does not say which version
// it wrote.
func TestWriteToAnOlderServerNamesNoVersion(t *testing.T) {
	url, _ := secretServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	if got := call(nil, "", "put", "a", "-v", "x", "--server", url); got.status != 0 || got.stderr != "created a\n" {
		t.Errorf("%+v", got)
	}
	if got := call(nil, "", "put", "a", "-v", "x", "--json", "--server", url); strings.Contains(got.stdout, "version") || !strings.Contains(got.stdout, "created") {
		t.Errorf("%+v", got)
	}
}

// TestMoveSaysHowFarItCame has a source that changes after it was copied, and one that
// may not be deleted.
func TestMoveSaysHowFarItCame(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusPreconditionFailed: "changed meanwhile and was not deleted: both exist now",
		http.StatusForbidden:          "a was copied to b, but could not be deleted; both may exist now",
	} {
		url, deletes := secretServer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"aa"`)
			switch {
			case r.Method == http.MethodDelete && r.Header.Get("If-Match") == `"aa"`:
				w.WriteHeader(status)
				fmt.Fprintf(w, `{"title":"%d","description":"refused"}`, status)
			case r.Method == http.MethodPut:
				w.WriteHeader(http.StatusCreated)
			default:
				fmt.Fprint(w, `{"value":"v"}`)
			}
		})
		got := call(nil, "", "mv", "a", "b", "--server", url)
		if got.status == 0 || deletes.Load() != 1 || !strings.Contains(got.stderr, want) || strings.Contains(got.stderr, "Nothing was written") {
			t.Errorf("%d: %+v", status, got)
		}
	}
}

// TestRecursiveDeleteRefusesAnIncompleteList deletes nothing unless that is allowed.
func TestRecursiveDeleteRefusesAnIncompleteList(t *testing.T) {
	url, deletes := secretServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Query().Get("list") == "true":
			fmt.Fprint(w, `{"array":["x","y"],"incomplete":true}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"title":"404 Not Found","description":"the secret does not exist"}`)
		}
	})
	got := call(nil, "", "delete", "-r", "a", "--yes", "--server", url)
	if got.status != base.ExitFailure || deletes.Load() != 0 || !strings.Contains(got.stderr, "--allow-incomplete") {
		t.Errorf("%+v, %d deletes", got, deletes.Load())
	}
	got = call(nil, "", "delete", "-r", "a", "--yes", "--allow-incomplete", "--server", url)
	if got.status != 0 || deletes.Load() != 2 || !strings.Contains(got.stderr, "deleted 2 of 2") {
		t.Errorf("%+v, %d deletes", got, deletes.Load())
	}
}

// TestRecursiveDeleteSaysHowFarItCame is refused at the second secret.
func TestRecursiveDeleteSaysHowFarItCame(t *testing.T) {
	url, deletes := secretServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/y"):
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"title":"403 Forbidden","description":"denied"}`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Query().Get("list") == "true":
			fmt.Fprint(w, `{"array":["x","y","z"]}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"title":"404 Not Found","description":"the secret does not exist"}`)
		}
	})
	got := call(nil, "", "delete", "-r", "a", "--yes", "--server", url)
	if got.status != 4 || deletes.Load() != 2 || !strings.Contains(got.stderr, "deleted 1 of 3") || !strings.Contains(got.stderr, "a/y: denied") {
		t.Errorf("%+v, %d deletes", got, deletes.Load())
	}
}
