package bulk

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
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

// TestTheTableOfFailuresDoesNotDriveTheTerminal: the index of a folder, or another
// store, may be hostile.
func TestTheTableOfFailuresDoesNotDriveTheTerminal(t *testing.T) {
	var out strings.Builder
	err := printFailed(&base.Process{Stderr: &out}, []failed{{"a\x1b[2J", "b\u009b2J\nc"}}, "imported")
	if err == nil || strings.Count(out.String(), "\n") != 1 || strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
		t.Errorf("%q, %v", out.String(), err)
	}
}
