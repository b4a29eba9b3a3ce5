package bulk

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/forms"
)

func TestALongRetryAfterDoesNotEndTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bulkFlags{remote: base.Remote{Timeout: time.Minute}}
		calls := 0
		err := b.patiently(t.Context(), func(context.Context) error {
			if calls++; calls <= 3 {
				return &client.Error{Status: 503, RetryAfter: 10 * time.Minute}
			}
			return nil
		})
		if err != nil || calls != 4 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
}

// TestAnInterruptedHistoryContinuesWhereItEnded, also if a value is in it twice.
func TestAnInterruptedHistoryContinuesWhereItEnded(t *testing.T) {
	for _, tt := range []struct {
		has  []string // by an import before, or by somebody else
		want string   // what is there then
	}{
		{[]string{"a"}, "a b a c"},
		{[]string{"a", "b"}, "a b a c"},
		{[]string{"a", "b", "a"}, "a b a c"},
		{[]string{"x", "a"}, "x a"}, // refused
		{[]string{"a", "b", "a", "x", "a"}, "a b a x a"},
	} {
		values := tt.has
		etag := func(n int) string { return fmt.Sprintf("%q", fmt.Sprint(n)) }
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("ETag", etag(len(values)))
			switch {
			case r.Method == http.MethodPatch && r.Header.Get("If-Match") == etag(len(values)):
				var doc struct{ Value string }
				if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
					t.Error(err)
				}
				values = append(values, doc.Value)
				w.Header().Set("ETag", etag(len(values)))
				w.WriteHeader(http.StatusNoContent)
			case r.Method != http.MethodGet:
				w.WriteHeader(http.StatusPreconditionFailed)
			case r.FormValue("versions") != "":
				fmt.Fprintf(w, `{"versions":[{"version":%d,"etag":%q,"kind":"text"}],"deleted":null}`, len(values), etag(len(values)))
			default:
				fmt.Fprintf(w, `{"value":%q}`, values[len(values)-1])
			}
		}))
		c, err := client.New(client.Config{Server: srv.URL})
		if err != nil {
			t.Fatal(err)
		}
		item := forms.Item{Path: "p", Value: []byte("c")}
		for _, v := range []string{"a", "b", "a"} {
			item.Earlier = append(item.Earlier, forms.Item{Value: []byte(v)})
		}
		got, err := newImporting(&importFlags{}, c).try(t.Context(), item)
		if now := strings.Join(values, " "); now != tt.want || (err == nil) != (got.outcome == updated) {
			t.Errorf("%q became %q: %v, %v", tt.has, now, got, err)
		}
		c.Close()
		srv.Close()
	}
}

// TestTheTableOfFailuresDoesNotDriveTheTerminal: the index of a folder, or another
// store, may be hostile.
func TestTheTableOfFailuresDoesNotDriveTheTerminal(t *testing.T) {
	var out strings.Builder
	err := printFailed(&base.Process{Stderr: &out}, []failed{{"a\x1b[2J", "b\u009b2J\nc"}}, "imported")
	if err == nil || strings.Count(out.String(), "\n") != 1 || strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
		t.Errorf("%q, %v", out.String(), err)
	}
}
