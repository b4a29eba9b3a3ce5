package bulk

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

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
