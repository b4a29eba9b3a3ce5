package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// TestRollbackFailsIfTheSecretHasChanged has a server whose secret changes right after
// its history was read.
func TestRollbackFailsIfTheSecretHasChanged(t *testing.T) {
	written := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodPatch && r.Header.Get("If-Match") != `"aa"`:
			written++
		case r.Method == http.MethodPatch:
			w.WriteHeader(http.StatusPreconditionFailed)
			fmt.Fprint(w, `{"title":"412 Precondition Failed","description":"the secret was changed since it was read"}`)
		case r.URL.Query().Get("versions") == "true":
			fmt.Fprint(w, `{"versions":[{"version":2,"etag":"\"aa\"","written":null,"kind":"text","bytes":1,"current":true},
				{"version":1,"etag":"\"bb\"","written":null,"kind":"text","bytes":1,"current":false}],"deleted":null}`)
		default:
			fmt.Fprint(w, `{"value":"v"}`)
		}
	}))
	defer server.Close()
	got := call(nil, "", "rollback", "a", "--to", "1", "--server", server.URL)
	if got.status != base.ExitFailure || written != 0 || !strings.Contains(got.stderr, "was changed") || !strings.Contains(got.stderr, "Nothing was written") {
		t.Errorf("%+v, %d writes", got, written)
	}
	if got := call(nil, "", "history", "a", "--server", server.URL); got.status != 0 || !strings.Contains(got.stdout, "unknown") {
		t.Errorf("%+v", got)
	}
}
