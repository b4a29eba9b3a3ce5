package storetest

import (
	"context"
	"fmt"
	"sync/atomic"

	"secretstore/store"
)

var watchTests = []test{
	{"reports creation, change and deletion", func(e *env) {
		notified := e.watch(e.ctx, "a")
		v := e.create("a", "x")
		e.await(notified)
		v = e.apply(store.Set("a", y, v))[0]
		e.await(notified)
		e.apply(store.Delete("a", v))
		e.await(notified)
	}},
	{"reports changes of each of its keys", func(e *env) {
		notified := e.watch(e.ctx, "a", "b/c", "d")
		for _, key := range []store.Key{"d", "b/c", "a"} {
			e.create(key, "x")
			e.await(notified)
		}
	}},
	{"reports one record among several in a transaction", func(e *env) {
		notified := e.watch(e.ctx, "b")
		e.apply(store.Create("a", x), store.Ensure("b", x), store.Create("c", x))
		e.await(notified)
	}},
	{"notifies every watcher", func(e *env) {
		var all []<-chan struct{}
		for range 20 {
			all = append(all, e.watch(e.ctx, "a"))
		}
		v := e.create("a", "x")
		for _, notified := range all {
			e.await(notified)
		}
		e.apply(store.Set("a", y, v))
		for _, notified := range all {
			e.await(notified)
		}
	}},
	{"the last change is never missed", lastChange},
	{"ends with its context", watchEnds},
	{"an ended context watches nothing", func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		e.b.Watch(ctx, []store.Key{"a"}, func() {})
		e.create("a", "x")
	}},
}

// watch returns a channel that holds a token after a notification. Like the
// notifications themselves, several tokens may be merged into one.
func (e *env) watch(ctx context.Context, keys ...store.Key) <-chan struct{} {
	notified := make(chan struct{}, 1)
	e.b.Watch(ctx, keys, func() {
		select {
		case notified <- struct{}{}:
		default:
		}
	})
	return notified
}

func (e *env) await(notified <-chan struct{}) {
	e.Helper()
	select {
	case <-notified:
	case <-e.ctx.Done():
		e.Fatal("no notification")
	}
}

// lastChange writes faster than the watcher reads. However many notifications are
// merged, a cached read after the last one must find the last write.
func lastChange(e *env) {
	const last = 100
	v := e.create("a", "0")
	notified := e.watch(e.ctx, "a")
	done := make(chan error, 1)
	go func() {
		for i := 1; i <= last; i++ {
			versions, err := e.b.Apply(e.ctx, store.Set("a", fmt.Append(nil, i), v))
			if err != nil {
				done <- err
				return
			}
			v = versions[0]
		}
		done <- nil
	}()
	for {
		e.await(notified)
		n, err := e.b.Get(e.ctx, "a", store.Cached)
		if err != nil {
			e.Fatal(err)
		}
		if string(n.Data) == fmt.Sprint(last) {
			break
		}
	}
	if err := <-done; err != nil {
		e.Fatal(err)
	}
}

// watchEnds allows a few notifications that were in progress when the context
// ended, and no more after those.
func watchEnds(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	var calls atomic.Int64
	e.b.Watch(ctx, []store.Key{"a"}, func() { calls.Add(1) })
	notified := e.watch(e.ctx, "a")
	v := e.create("a", "x")
	e.await(notified)
	e.eventually("both watches are notified", func() bool { return calls.Load() > 0 })
	cancel()
	before := int64(0)
	for range 10 {
		before = calls.Load()
		v = e.apply(store.Set("a", y, v))[0]
		e.await(notified)
	}
	if after := calls.Load(); after != before {
		e.Errorf("still notified long after its end: %d calls, then %d", before, after)
	}
}
