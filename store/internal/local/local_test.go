package local_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"secretstore/store"
	"secretstore/store/internal/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A notification that is running must not swallow the change that arrives
// meanwhile: another must follow it.
func TestChangeDuringANotificationIsToldAfterIt(t *testing.T) {
	h := local.NewHub()
	defer h.Close()
	begun, proceed := make(chan struct{}), make(chan struct{})
	h.Watch(t.Context(), []string{"k"}, func() {
		begun <- struct{}{}
		<-proceed
	})
	h.Changed("k")
	<-begun
	for range 10 {
		h.Changed("k") // none of these blocks
	}
	proceed <- struct{}{}
	<-begun // hangs if the change was lost
	proceed <- struct{}{}
}

func TestCloseWaitsForTheNotificationUnderWay(t *testing.T) {
	h := local.NewHub()
	begun, proceed := make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	h.Watch(t.Context(), []string{"k"}, func() {
		close(begun)
		<-proceed
		finished.Store(true)
	})
	h.Changed("k")
	<-begun
	go close(proceed)
	h.Close()
	if !finished.Load() {
		t.Error("Close returned while notify ran")
	}
	h.Watch(t.Context(), []string{"k"}, func() { t.Error("notified after Close") })
	h.Changed("k")
}

func TestEndedContextIsNotTold(t *testing.T) {
	for range 200 { // the goroutine of the watch wakes to both at once
		h := local.NewHub()
		ctx, cancel := context.WithCancel(t.Context())
		h.Watch(ctx, []string{"k"}, func() { t.Error("notified") })
		cancel()
		h.Changed("k")
		h.Close()
	}
}

func TestWatchesComeAndGoAmongChanges(t *testing.T) {
	h := local.NewHub()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				told := make(chan struct{}, 1)
				h.Watch(ctx, []string{"a", "b"}, func() {
					select {
					case told <- struct{}{}:
					default: // it may come from all of them, and must not block
					}
				})
				h.Changed("b", "c")
				<-told
				cancel()
			}
		})
	}
	wg.Wait()
	h.Close()
}

func TestExpiredSaysWhy(t *testing.T) {
	if err := local.Expired(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the client has gone")
	cancel(why)
	if err := local.Expired(ctx); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}
