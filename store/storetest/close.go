package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"secretstore/store"
)

var closeTests = []test{
	{"calls on a closed backend are ErrUnavailable", func(e *env) {
		v := e.create("a", "x")
		if err := e.b.Close(); err != nil {
			e.Fatalf("Close: %v", err)
		}
		refusesAll(e, v)
	}},
	{"a second Close is harmless", func(e *env) {
		v := e.create("a", "x")
		for range 3 {
			if err := e.b.Close(); err != nil {
				e.Errorf("Close: %v", err)
			}
		}
		refusesAll(e, v)
	}},
	{"Watch on a closed backend returns", func(e *env) {
		_ = e.b.Close()
		e.b.Watch(e.ctx, []store.Key{"a"}, func() { e.Error("notified") })
	}},
	{"Close ends watches whose context has not ended", func(e *env) {
		// goleak, which runs after the tests of every backend, finds a goroutine
		// that is left behind.
		for range 10 {
			e.watch(context.WithoutCancel(e.ctx), "a", "b")
		}
		if err := e.b.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
	}},
	{"calls in progress return when the backend is closed", closeDuringCalls},
}

// refusesAll checks that every call is ErrUnavailable. v is the version of "a".
func refusesAll(e *env, v store.Version) {
	e.Helper()
	_, get := e.b.Get(e.ctx, "a", store.Cached)
	_, latest := e.b.Get(e.ctx, "a", store.Latest)
	_, children := e.b.Children(e.ctx, "", store.Cached)
	_, apply := e.b.Apply(e.ctx, store.Set("a", y, v))
	for call, err := range map[string]error{
		"Get": get, "Get Latest": latest, "Children": children, "Apply": apply, "Ping": e.b.Ping(e.ctx),
	} {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) {
			e.Errorf("%s: %v, want ErrUnavailable", call, err)
		}
	}
}

func closeDuringCalls(e *env) {
	e.create("a", "x")
	var wg, started sync.WaitGroup
	for w := range 8 {
		started.Add(1)
		wg.Go(func() {
			for i := 0; ; i++ {
				_, err := e.b.Apply(e.ctx, store.Create(fmt.Sprintf("w%d/%d", w, i), x))
				if err == nil {
					_, err = e.b.Get(e.ctx, "a", store.Latest)
				}
				if i == 0 {
					started.Done()
				}
				if err != nil {
					if !errors.Is(err, store.ErrUnavailable) {
						e.Errorf("%v, want ErrUnavailable", err)
					}
					return
				}
			}
		})
	}
	started.Wait()
	if err := e.b.Close(); err != nil {
		e.Errorf("Close: %v", err)
	}
	wg.Wait()
}
