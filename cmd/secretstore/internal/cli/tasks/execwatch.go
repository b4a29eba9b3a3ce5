package tasks

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/supervise"
)

// watcher keeps the secrets of a running program up to date.
type watcher struct {
	flags   *execFlags
	p       *base.Process
	q       *question
	what    *delivery
	got     *bundle // the program's secrets; only run changes it
	fetch   func(context.Context) (*bundle, error)
	changes chan supervise.Change
	failing bool // the user was warned that the secrets cannot be refreshed
}

// pollLess is how many times longer the interval is with a server that reports
// changes.
const pollLess = 10

// run runs until ctx ends. After an error the program keeps the secrets it has.
func (w *watcher) run(ctx context.Context) {
	changed := make(chan struct{}, 1)
	var reporting *client.Store
	defer func() {
		if reporting != nil {
			reporting.Close()
		}
	}()
	for {
		pause := w.flags.interval
		if reporting == nil {
			reporting = w.listen(ctx, changed)
		} else {
			pause *= pollLess
		}
		if len(w.what.folders) > 0 {
			pause = w.flags.interval // new secrets are not reported
		}
		// Programs that started together should not poll together.
		pause += rand.N(pause/5+1) - pause/10
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(pause):
		}
		if !w.act(ctx) {
			return
		}
	}
}

// listen has the server report changes on the channel; nil if it does not. What has
// changed so far counts as a change.
func (w *watcher) listen(ctx context.Context, changed chan<- struct{}) *client.Store {
	report := func(string) {
		select {
		case changed <- struct{}{}:
		default: // the last change is still to be handled
		}
	}
	ctx, cancel := context.WithTimeout(ctx, w.flags.remote.Timeout)
	defer cancel()
	s, err := client.NewStore(ctx, w.q.c, client.StoreConfig{Paths: w.got.paths, Service: &w.what.service, OnChange: report})
	if err != nil {
		return nil // the next poll says what is wrong
	}
	report("")
	return s
}

// act refreshes the secrets and passes on what to do with the program. It reports
// whether ctx is still alive.
func (w *watcher) act(ctx context.Context) bool {
	change, err := w.refresh(ctx)
	if ctx.Err() != nil {
		return false
	}
	w.warn(err)
	if change == nil {
		return true
	}
	select {
	case w.changes <- *change:
		return true
	case <-ctx.Done():
		return false
	}
}

// refresh fetches the secrets, replaces the files that have changed, and returns what
// to do with the program; nil if nothing. A secret that was written again with the same
// value has not changed.
func (w *watcher) refresh(ctx context.Context) (*supervise.Change, error) {
	next, err := w.fetch(ctx)
	if err != nil || next.equal(w.got) {
		return nil, err
	}
	if next, err = settled(ctx, next, w.fetch); err != nil || next.equal(w.got) {
		return nil, err
	}
	if _, err := next.changedFiles(w.got).Place(); err != nil {
		return nil, err
	}
	w.got = next
	if w.flags.restart {
		return &supervise.Change{Restart: true, Env: next.environment()}, nil
	}
	return &supervise.Change{Signal: w.flags.number}, nil
}

// Somebody who changes several secrets of a program writes one after the other. Values
// count when they have not changed for settle, or at the latest after settleMax.
const (
	settle    = time.Second
	settleMax = 15 * time.Second
)

// settled fetches until the values stay the same.
func settled(ctx context.Context, got *bundle, fetch func(context.Context) (*bundle, error)) (*bundle, error) {
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(settle):
		}
		next, err := fetch(ctx)
		if err != nil || next.equal(got) || time.Since(began) >= settleMax {
			return next, err
		}
		got = next
	}
}

// fetchOnce is the fetch of a watcher outside its tests.
func (w *watcher) fetchOnce(ctx context.Context) (*bundle, error) {
	ctx, cancel := context.WithTimeout(ctx, w.flags.remote.Timeout)
	defer cancel()
	return w.q.once(ctx, w.p)
}

// warn reports a failure once, and its end once.
func (w *watcher) warn(err error) {
	switch {
	case err != nil && !w.failing:
		fmt.Fprintf(w.p.Stderr, "secretstore: warning: the secrets cannot be refreshed; the program keeps the ones it has: %v\n", err)
	case err == nil && w.failing:
		fmt.Fprintln(w.p.Stderr, "secretstore: the secrets can be refreshed again")
	}
	w.failing = err != nil
}
