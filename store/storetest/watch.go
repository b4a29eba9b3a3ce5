package storetest

import (
	"context"
	"fmt"
	"sync/atomic"

	"secretstore/store"
)

var watchTests = []test{
	{"tells of creation, change and deletion", func(e *env) {
		told := e.watch(e.ctx, "a")
		v := e.create("a", "x")
		e.await(told)
		v = e.apply(store.Set("a", y, v))[0]
		e.await(told)
		e.apply(store.Delete("a", v))
		e.await(told)
	}},
	{"tells of each of its keys", func(e *env) {
		told := e.watch(e.ctx, "a", "b/c", "d")
		for _, key := range []store.Key{"d", "b/c", "a"} {
			e.create(key, "x")
			e.await(told)
		}
	}},
	{"tells of a record among many in a transaction", func(e *env) {
		told := e.watch(e.ctx, "b")
		e.apply(store.Create("a", x), store.Ensure("b", x), store.Create("c", x))
		e.await(told)
	}},
	{"tells every watcher", func(e *env) {
		var all []<-chan struct{}
		for range 20 {
			all = append(all, e.watch(e.ctx, "a"))
		}
		v := e.create("a", "x")
		for _, told := range all {
			e.await(told)
		}
		e.apply(store.Set("a", y, v))
		for _, told := range all {
			e.await(told)
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

// watch returns a channel that holds a token after a notification. Tokens do
// not add up, like the notifications themselves.
func (e *env) watch(ctx context.Context, keys ...store.Key) <-chan struct{} {
	told := make(chan struct{}, 1)
	e.b.Watch(ctx, keys, func() {
		select {
		case told <- struct{}{}:
		default:
		}
	})
	return told
}

func (e *env) await(told <-chan struct{}) {
	e.Helper()
	select {
	case <-told:
	case <-e.ctx.Done():
		e.Fatal("no notification")
	}
}

// lastChange writes faster than the watcher reads: however many notifications
// fall together, the read that follows the last one must find the last write,
// from memory too.
func lastChange(e *env) {
	const last = 100
	v := e.create("a", "0")
	told := e.watch(e.ctx, "a")
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
		e.await(told)
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

// watchEnds lets a few notifications pass that were under way when the context
// ended, and then wants silence.
func watchEnds(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	var calls atomic.Int64
	e.b.Watch(ctx, []store.Key{"a"}, func() { calls.Add(1) })
	told := e.watch(e.ctx, "a")
	v := e.create("a", "x")
	e.await(told)
	e.eventually("both watches told", func() bool { return calls.Load() > 0 })
	cancel()
	before := int64(0)
	for range 10 {
		before = calls.Load()
		v = e.apply(store.Set("a", y, v))[0]
		e.await(told)
	}
	if after := calls.Load(); after != before {
		e.Errorf("still told (%d calls, then %d) long after its end", before, after)
	}
}
