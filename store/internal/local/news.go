package local

import (
	"context"
	"strings"

	"secretstore/store"
)

// maxUntold bounds the ids that wait for a reader of changes; beyond it the
// reader is told that it has missed some.
const maxUntold = 1 << 14

// reader is one that Subscribe has made. Its fields are guarded by the hub's
// mutex.
type reader struct {
	untold store.Changes
	wake   chan struct{} // holds a token while there is something to tell
}

// Subscribe calls notify from a goroutine of the hub with what Tell and Missed
// were called with since, until ctx or the hub ends. Nothing after Subscribe
// has returned is left out. On a closed hub it does nothing.
func (h *Hub) Subscribe(ctx context.Context, notify func(store.Changes)) {
	r := &reader{wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || ctx.Err() != nil {
		return
	}
	h.readers[r] = struct{}{}
	h.running.Go(func() { h.deliver(ctx, r, notify) })
}

func (h *Hub) deliver(ctx context.Context, r *reader, notify func(store.Changes)) {
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.readers, r)
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.ended.Done():
			return
		case <-r.wake:
		}
		if ctx.Err() != nil || h.ended.Err() != nil {
			return // as in serve
		}
		h.mu.Lock()
		news := r.untold
		r.untold = store.Changes{}
		h.mu.Unlock()
		notify(news)
	}
}

// Tell passes ids on to the readers of changes. It never blocks on one.
func (h *Hub) Tell(ids ...store.ID) {
	if len(ids) > 0 {
		h.tell(store.Changes{IDs: ids})
	}
}

// Missed tells the readers of changes that they may have missed some.
func (h *Hub) Missed() { h.tell(store.Changes{Missed: true}) }

func (h *Hub) tell(news store.Changes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		r.untold.Missed = r.untold.Missed || news.Missed
		r.untold.IDs = append(r.untold.IDs, news.IDs...)
		if len(r.untold.IDs) > maxUntold {
			r.untold = store.Changes{Missed: true}
		}
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// News collects the ids that a transaction is to tell of. The zero value is
// empty.
type News struct{ ids []store.ID }

// Add notes an operation that has changed a record. A record that came or went
// may have brought or taken any of the names above it.
func (n *News) Add(op store.Op) {
	if op.Quiet {
		return
	}
	n.ids = append(n.ids, store.RecordID(op.Key))
	if op.Kind == store.OpSet {
		return
	}
	for key := op.Key; key != ""; {
		key = key[:max(0, strings.LastIndexByte(key, '/'))]
		n.ids = append(n.ids, store.ListingID(key))
	}
}

// IDs returns what was noted.
func (n *News) IDs() []store.ID { return n.ids }
