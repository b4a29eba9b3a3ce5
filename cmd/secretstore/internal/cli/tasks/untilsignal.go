package tasks

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// untilSignal returns a context that a signal ends; its cause then is a *base.Ended.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if s, ok := <-signals; ok {
			cancel(&base.Ended{Status: 128 + int(s.(syscall.Signal))})
		}
	})
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals) // nothing is sent after this
		close(signals)
		wg.Wait() // a signal that came before that is not lost
		cancel(nil)
	})
}

// placeWhole places files. A signal takes effect after that: ending in between would
// leave values in temporary files. The error is then a *base.Ended, and undo is not
// nil.
func placeWhole(place func() (undo func(), err error)) (undo func(), err error) {
	ctx, stop := untilSignal()
	undo, err = place()
	stop()
	if by, ok := errors.AsType[*base.Ended](context.Cause(ctx)); ok && err == nil {
		err = by
	}
	return undo, err
}
