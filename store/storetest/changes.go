package storetest

import (
	"context"
	"slices"
	"sync"

	"secretstore/store"
)

var changesTests = []test{
	{"reports creation, change and deletion", func(e *env) {
		reported := e.changes(e.ctx)
		v := e.create("p/q/a", "x")
		reported.await(store.RecordID("p/q/a"), store.ListingID("p/q"), store.ListingID("p"))
		v = e.apply(store.Set("p/q/a", y, v))[0]
		reported.await(store.RecordID("p/q/a"))
		e.apply(store.Delete("p/q/a", v))
		reported.await(store.RecordID("p/q/a"), store.ListingID("p/q"))
	}},
	{"reports each record of a transaction", func(e *env) {
		reported := e.changes(e.ctx)
		e.apply(store.Create("a", x), store.Ensure("b", x), store.Create("c/d", x))
		reported.await(store.RecordID("a"), store.RecordID("b"), store.RecordID("c/d"), store.ListingID("c"), store.ListingID(""))
	}},
	{"does not report quiet changes", func(e *env) {
		v := e.apply(store.Create("a", x), store.Create("b", x))
		reported := e.changes(e.ctx)
		quiet := store.Set("a", y, v[0])
		quiet.Quiet = true
		e.apply(quiet)
		e.holds("a", string(y)) // the cache must drop it nevertheless
		e.apply(store.Set("b", y, v[1]))
		if all := reported.await(store.RecordID("b")); slices.Contains(all, store.RecordID("a")) {
			e.Error("a quiet change was reported")
		}
	}},
	{"does not report refused changes", func(e *env) {
		e.create("a", "x")
		reported := e.changes(e.ctx)
		e.refused(store.ErrExists, 1, store.Create("b", x), store.Create("a", x))
		e.create("c", "x")
		if all := reported.await(store.RecordID("c")); slices.Contains(all, store.RecordID("a")) || slices.Contains(all, store.RecordID("b")) {
			e.Error("a refused change was reported")
		}
	}},
	{"reports to every reader, and a read after that is not older", func(e *env) {
		const readers, last = 20, 50
		v := e.create("a", "0")
		var all []*reports
		for range readers {
			all = append(all, e.changes(e.ctx))
		}
		for range last {
			v = e.apply(store.Set("a", y, v))[0]
			for _, reported := range all[:2] {
				reported.await(store.RecordID("a"))
				if n, err := e.b.Get(e.ctx, "a", store.Cached); err != nil || n.Version != v {
					e.Fatalf("read version %d, %v, after the report of %d", n.Version, err, v)
				}
			}
		}
		for _, reported := range all[2:] {
			reported.await(store.RecordID("a"))
		}
	}},
	{"ends with its context", func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		ending, reported := e.changes(ctx), e.changes(e.ctx)
		v := e.create("a", "x")
		ending.await(store.RecordID("a"))
		reported.await(store.RecordID("a"))
		cancel()
		for range 10 { // one report may be in progress
			ending.take()
			v = e.apply(store.Set("a", y, v))[0]
			reported.await(store.RecordID("a"))
		}
		if all := ending.take(); len(all) > 0 {
			e.Errorf("%d changes reported long after its end", len(all))
		}
	}},
}

// reports collects the changes reported to a reader until they are taken.
type reports struct {
	e    *env
	wake chan struct{}

	mu  sync.Mutex
	ids []store.ID // guarded by mu
}

// changes begins to read changes once the storage answers, so that none is
// missed.
func (e *env) changes(ctx context.Context) *reports {
	e.Helper()
	e.eventually("the storage answers", func() bool { return e.b.Ping(e.ctx) == nil })
	r := &reports{e: e, wake: make(chan struct{}, 1)}
	e.b.Changes(ctx, func(c store.Changes) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ids = append(r.ids, c.IDs...)
		select {
		case r.wake <- struct{}{}:
		default:
		}
	})
	return r
}

// take returns, and forgets, what was reported so far.
func (r *reports) take() []store.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := r.ids
	r.ids = nil
	return ids
}

// await waits until all ids were reported, and takes everything reported so far.
func (r *reports) await(ids ...store.ID) (all []store.ID) {
	r.e.Helper()
	for {
		all = append(all, r.take()...)
		if !slices.ContainsFunc(ids, func(i store.ID) bool { return !slices.Contains(all, i) }) {
			return all
		}
		select {
		case <-r.wake:
		case <-r.e.ctx.Done():
			r.e.Fatalf("not all of %x were reported, only %x", ids, all)
		}
	}
}
