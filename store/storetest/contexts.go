package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"secretstore/store"
)

var contextTests = []test{
	{"a write under an ended context is ErrUnavailable and has no effect", func(e *env) {
		for i, ctx := range ended(e) {
			key := fmt.Sprintf("k%d", i)
			_, err := e.b.Apply(ctx, store.Create(key, x))
			if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOutcomeUnknown) {
				e.Errorf("Apply: %v, want ErrUnavailable", err)
			}
			e.lacks(key)
		}
	}},
	{"a read under an ended context answers or is ErrUnavailable", func(e *env) {
		e.create("a", "x")
		for _, ctx := range ended(e) {
			for _, c := range []store.Consistency{store.Cached, store.Latest} {
				if n, err := e.b.Get(ctx, "a", c); !errors.Is(err, store.ErrUnavailable) && (err != nil || string(n.Data) != "x") {
					e.Errorf("Get(%s): %q, %v", name(c), n.Data, err)
				}
				if l, err := e.b.Children(ctx, "", c); !errors.Is(err, store.ErrUnavailable) && (err != nil || len(l.Names) != 1) {
					e.Errorf("Children(%s): %q, %v", name(c), l.Names, err)
				}
			}
		}
	}},
	{"Ping under an ended context is ErrUnavailable", func(e *env) {
		for _, ctx := range ended(e) {
			if err := e.b.Ping(ctx); !errors.Is(err, store.ErrUnavailable) {
				e.Errorf("Ping: %v, want ErrUnavailable", err)
			}
		}
	}},
	{"a write reports its outcome truthfully when its context ends", truthful},
}

// ended returns a canceled context and one past its deadline.
func ended(e *env) []context.Context {
	canceled, cancel := context.WithCancel(e.ctx)
	cancel()
	late, cancel := context.WithDeadline(e.ctx, time.Unix(0, 0))
	cancel()
	return []context.Context{canceled, late}
}

// truthful gives writes so little time that many end early, at every stage.
func truthful(e *env) {
	const writers, each = 8, 25
	answers := make([]error, writers*each)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w * each; i < (w+1)*each; i++ {
				ctx, cancel := context.WithTimeout(e.ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
				_, answers[i] = e.b.Apply(ctx, store.Create(fmt.Sprintf("k%d", i), x))
				cancel()
			}
		})
	}
	wg.Wait()
	for i, answer := range answers {
		key := fmt.Sprintf("k%d", i)
		switch {
		case answer == nil:
			e.holds(key, "x")
		case errors.Is(answer, store.ErrOutcomeUnknown):
		case errors.Is(answer, store.ErrUnavailable):
			e.lacks(key)
		default:
			e.Errorf("%s: %v", key, answer)
		}
	}
}
