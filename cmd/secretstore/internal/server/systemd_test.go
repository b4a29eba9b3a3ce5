package server

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestASocketIsServedOnlyWhereAnOptionSaysSo(t *testing.T) {
	for _, row := range []struct {
		socket, option string
		want           bool
	}{
		{"127.0.0.1:1337", "127.0.0.1:1337", true},
		{"127.0.0.1:1337", "localhost:1337", true},
		{"[::1]:1337", "localhost:1337", true},
		{"127.0.0.1:1337", "127.0.0.1:1338", false},
		{"0.0.0.0:1337", "127.0.0.1:1337", false},
		{"[::]:1337", "127.0.0.1:1337", false},
		{"[::]:1337", "localhost:1337", false},
		{"192.0.2.1:1337", "localhost:1337", false},
		{"192.0.2.1:1337", "192.0.2.2:1337", false},
		{"192.0.2.1:1337", "192.0.2.1:1337", true},
		{"192.0.2.1:1337", "secrets.example.com:1337", true},
		{"127.0.0.1:1337", "secrets.example.com:1337", false},
		{"[::]:1337", "0.0.0.0:1337", true},
		{"[::]:1337", ":1337", true},
		{"192.0.2.1:1337", ":1337", false},
		{"192.0.2.1:1337", "0.0.0.0:1337", false},
		{"127.0.0.1:1337", "", false},
		{"/run/a.sock", "127.0.0.1:1337", false},
	} {
		if got := sameAddress(row.socket, row.option); got != row.want {
			t.Errorf("socket %s, option %q: %v", row.socket, row.option, got)
		}
	}
}

// TestProbeWantsAnAnswerOfAnyKind: one that is sealed gives 503, and works.
func TestProbeWantsAnAnswerOfAnyKind(t *testing.T) {
	e, err := bind(t.Context(), "127.0.0.1:0", "http", nil)
	if err != nil {
		t.Fatal(err)
	}
	hangs := false
	e.prepare(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs {
			<-r.Context().Done()
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}), 1, zap.NewNop())
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, []*endpoint{e}, time.Minute) }()
	if err := e.probe(t.Context()); err != nil {
		t.Error(err)
	}
	hangs = true
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := e.probe(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of a server that does not answer: %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := e.probe(t.Context()); err == nil {
		t.Error("of a server that has ended: no error")
	}
}
