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

// watcher asks again and again for the secrets of a program that runs.
type watcher struct {
	flags   *execFlags
	p       *base.Process
	q       *question
	what    *delivery
	got     *bundle // what the program has
	changes chan supervise.Change
	failing bool // it has been said that the secrets cannot be refreshed
}

// quieter is how much less often a server is asked that tells of changes.
const quieter = 10

// run ends with the context. What goes wrong costs nothing but the news: the
// program keeps what it has.
func (w *watcher) run(ctx context.Context) {
	news := make(chan struct{}, 1)
	var telling *client.Store
	defer func() {
		if telling != nil {
			telling.Close()
		}
	}()
	for {
		pause := w.flags.interval
		if telling == nil {
			telling = w.listen(ctx, news)
		} else {
			pause *= quieter
		}
		// Programs that were started together should not ask together.
		pause += rand.N(pause/5+1) - pause/10
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-time.After(pause):
		}
		if !w.act(ctx) {
			return
		}
	}
}

// listen has the server tell of changes, if it can. What has changed meanwhile
// is news too.
func (w *watcher) listen(ctx context.Context, news chan<- struct{}) *client.Store {
	tell := func(string) {
		select {
		case news <- struct{}{}:
		default: // it has not been heard yet
		}
	}
	ctx, cancel := context.WithTimeout(ctx, w.flags.remote.Timeout)
	defer cancel()
	s, err := client.NewStore(ctx, w.q.c, client.StoreConfig{Paths: w.what.paths(), Service: &w.what.service, OnChange: tell})
	if err != nil {
		return nil // run asks, and says what is wrong
	}
	tell("")
	return s
}

// act looks, and passes on what is to be done. It reports whether ctx goes on.
func (w *watcher) act(ctx context.Context) bool {
	change, err := w.look(ctx)
	if ctx.Err() != nil {
		return false
	}
	w.tell(err)
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

// look asks once, replaces the files that have changed, and returns what is to
// be done to the program; nil if nothing is. A secret that was written again
// with the same value has not changed.
func (w *watcher) look(ctx context.Context) (*supervise.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, w.flags.remote.Timeout)
	defer cancel()
	answer, err := w.q.once(ctx, w.p)
	if err != nil {
		return nil, err
	}
	next, err := w.what.take(answer)
	if err != nil {
		return nil, err
	}
	files := next.changedFiles(w.got)
	if len(files.List) == 0 && sameVariables(w.got, next) {
		return nil, nil
	}
	if _, err := files.Place(); err != nil {
		return nil, err
	}
	w.got = next
	if w.flags.restart {
		return &supervise.Change{Restart: true, Env: next.environment()}, nil
	}
	return &supervise.Change{Signal: w.flags.number}, nil
}

// tell says once that something is wrong, and once that it is over.
func (w *watcher) tell(err error) {
	switch {
	case err != nil && !w.failing:
		fmt.Fprintf(w.p.Stderr, "secretstore: warning: the secrets cannot be refreshed, and stay as they are: %v\n", err)
	case err == nil && w.failing:
		fmt.Fprintln(w.p.Stderr, "secretstore: the secrets are being refreshed again")
	}
	w.failing = err != nil
}
