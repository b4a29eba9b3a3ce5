package tasks

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// notice is a stderr that calls seen when something is written to it.
type notice struct {
	bytes.Buffer
	seen func()
}

func (n *notice) Write(p []byte) (int, error) {
	n.seen()
	return n.Buffer.Write(p)
}

// TestALongRetryAfterDoesNotEndTheCommand ends it when it says that it retries.
func TestALongRetryAfterDoesNotEndTheCommand(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	c, err := client.New(client.Config{Server: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stderr := &notice{seen: cancel}
	q := &question{c: c, what: &delivery{}}
	if _, err := q.ask(ctx, &base.Process{Stderr: stderr}); err == nil || stderr.Len() == 0 {
		t.Errorf("it gave up at once: %v", err)
	}
}
