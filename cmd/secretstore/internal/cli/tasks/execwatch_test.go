package tasks

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"secretstore/cmd/secretstore/internal/supervise"
)

// changing is a watcher of a program that is restarted. Its secret has changed one more
// time each period, until last.
func changing(period, last time.Duration) *watcher {
	began := time.Now()
	values := func() *bundle {
		n := min(time.Since(began), last) / period
		return &bundle{env: []string{"N=" + n.String()}}
	}
	w := &watcher{flags: &execFlags{restart: true}, got: &bundle{env: []string{"N=old"}}, changes: make(chan supervise.Change, 100)}
	w.fetch = func(context.Context) (*bundle, error) { return values(), nil }
	return w
}

func TestSeveralChangesInAShortTimeCauseOneRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := changing(100*time.Millisecond, 2*time.Second)
		for len(w.changes) == 0 {
			if !w.act(t.Context()) {
				t.Fatal("it gave up")
			}
		}
		w.act(t.Context())
		if c := <-w.changes; len(w.changes) != 0 || w.got.env[0] != "N=20ns" || !c.Restart {
			t.Errorf("%d more restarts, and the values are %q", len(w.changes), w.got.env)
		}
	})
}

// TestEndlessChangesAreNotWaitedForEndlessly.
func TestEndlessChangesAreNotWaitedForEndlessly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := changing(100*time.Millisecond, time.Hour)
		w.act(t.Context())
		if len(w.changes) != 1 || time.Since(began) > settleMax+settle {
			t.Errorf("%d restarts in %v", len(w.changes), time.Since(began))
		}
	})
}

// TestChangeThatIsTakenBackCausesNoRestart.
func TestChangeThatIsTakenBackCausesNoRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []*bundle{{env: []string{"N=new"}}, {env: []string{"N=old"}}, {env: []string{"N=old"}}}
		w := changing(time.Second, 0)
		w.fetch = func(context.Context) (*bundle, error) {
			next := answers[0]
			answers = answers[1:]
			return next, nil
		}
		w.act(t.Context())
		if len(w.changes) != 0 || w.got.env[0] != "N=old" {
			t.Errorf("%d restarts, with %q", len(w.changes), w.got.env)
		}
	})
}

func TestFailureWhileChangesSettleKeepsTheValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		first := &bundle{env: []string{"N=new"}}
		if _, err := settled(t.Context(), first, func(context.Context) (*bundle, error) { return nil, down }); !errors.Is(err, down) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := settled(ctx, first, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
