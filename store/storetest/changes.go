package storetest

import (
	"context"
	"slices"
	"sync"

	"secretstore/store"
)

var changesTests = []test{
	{"tells of creation, change and deletion", func(e *env) {
		told := e.changes(e.ctx)
		v := e.create("p/q/a", "x")
		told.await(store.RecordID("p/q/a"), store.ListingID("p/q"), store.ListingID("p"))
		v = e.apply(store.Set("p/q/a", y, v))[0]
		told.await(store.RecordID("p/q/a"))
		e.apply(store.Delete("p/q/a", v))
		told.await(store.RecordID("p/q/a"), store.ListingID("p/q"))
	}},
	{"tells of each record of a transaction", func(e *env) {
		told := e.changes(e.ctx)
		e.apply(store.Create("a", x), store.Ensure("b", x), store.Create("c/d", x))
		told.await(store.RecordID("a"), store.RecordID("b"), store.RecordID("c/d"), store.ListingID("c"), store.ListingID(""))
	}},
	{"does not tell of what is quiet", func(e *env) {
		v := e.apply(store.Create("a", x), store.Create("b", x))
		told := e.changes(e.ctx)
		quiet := store.Set("a", y, v[0])
		quiet.Quiet = true
		e.apply(quiet)
		e.holds("a", string(y)) // though memory has to drop it
		e.apply(store.Set("b", y, v[1]))
		if all := told.await(store.RecordID("b")); slices.Contains(all, store.RecordID("a")) {
			e.Error("told of a quiet change")
		}
	}},
	{"tells nothing of what was refused", func(e *env) {
		e.create("a", "x")
		told := e.changes(e.ctx)
		e.refused(store.ErrExists, 1, store.Create("b", x), store.Create("a", x))
		e.create("c", "x")
		if all := told.await(store.RecordID("c")); slices.Contains(all, store.RecordID("a")) || slices.Contains(all, store.RecordID("b")) {
			e.Error("told of what did not happen")
		}
	}},
	{"tells every reader, and what is read then is not older", func(e *env) {
		const readers, last = 20, 50
		v := e.create("a", "0")
		var all []*heard
		for range readers {
			all = append(all, e.changes(e.ctx))
		}
		for range last {
			v = e.apply(store.Set("a", y, v))[0]
			for _, told := range all[:2] {
				told.await(store.RecordID("a"))
				if n, err := e.b.Get(e.ctx, "a", store.Cached); err != nil || n.Version != v {
					e.Fatalf("read version %d, %v, after word of %d", n.Version, err, v)
				}
			}
		}
		for _, told := range all[2:] {
			told.await(store.RecordID("a"))
		}
	}},
	{"ends with its context", func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		ending, told := e.changes(ctx), e.changes(e.ctx)
		v := e.create("a", "x")
		ending.await(store.RecordID("a"))
		told.await(store.RecordID("a"))
		cancel()
		for range 10 { // one may be under way
			ending.forget()
			v = e.apply(store.Set("a", y, v))[0]
			told.await(store.RecordID("a"))
		}
		if all := ending.forget(); len(all) > 0 {
			e.Errorf("still told of %d changes long after its end", len(all))
		}
	}},
}

// heard is what a reader of changes was told and has not awaited yet.
type heard struct {
	e    *env
	wake chan struct{}

	mu  sync.Mutex
	ids []store.ID // guarded by mu
}

// changes waits until the storage answers, so that nothing is missed from then
// on.
func (e *env) changes(ctx context.Context) *heard {
	e.Helper()
	e.eventually("the storage answers", func() bool { return e.b.Ping(e.ctx) == nil })
	h := &heard{e: e, wake: make(chan struct{}, 1)}
	e.b.Changes(ctx, func(c store.Changes) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ids = append(h.ids, c.IDs...)
		select {
		case h.wake <- struct{}{}:
		default:
		}
	})
	return h
}

// forget returns what was told until now.
func (h *heard) forget() []store.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := h.ids
	h.ids = nil
	return ids
}

// await waits until all ids were told, and returns what was told so far.
func (h *heard) await(ids ...store.ID) (all []store.ID) {
	h.e.Helper()
	for {
		all = append(all, h.forget()...)
		if !slices.ContainsFunc(ids, func(i store.ID) bool { return !slices.Contains(all, i) }) {
			return all
		}
		select {
		case <-h.wake:
		case <-h.e.ctx.Done():
			h.e.Fatalf("not told of all of %x, only of %x", ids, all)
		}
	}
}
