package local

import (
	"context"
	"strings"

	"secretstore/store"
)

// maxPending bounds the ids that wait for a subscriber; beyond it the subscriber
// has missed some.
const maxPending = 1 << 14

// reader is made by Subscribe. Its fields are guarded by the hub's mutex.
type reader struct {
	pending store.Changes
	wake    chan struct{} // holds a token while there is something pending
}

// Subscribe calls notify from a goroutine of the hub with everything that was
// passed to Report and Missed since, until ctx or the hub ends. Nothing after
// Subscribe has returned is left out. On a closed hub it does nothing.
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
		changes := r.pending
		r.pending = store.Changes{}
		h.mu.Unlock()
		notify(changes)
	}
}

// Report passes ids on to the subscribers. It never blocks on one.
func (h *Hub) Report(ids ...store.ID) {
	if len(ids) > 0 {
		h.report(store.Changes{IDs: ids})
	}
}

// Missed tells the subscribers that they may have missed changes.
func (h *Hub) Missed() { h.report(store.Changes{Missed: true}) }

func (h *Hub) report(changes store.Changes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		r.pending.Missed = r.pending.Missed || changes.Missed
		r.pending.IDs = append(r.pending.IDs, changes.IDs...)
		if len(r.pending.IDs) > maxPending {
			r.pending = store.Changes{Missed: true}
		}
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// ChangedIDs collects the ids that a transaction is to report. The zero value is
// empty.
type ChangedIDs struct{ ids []store.ID }

// Add notes an operation that has changed a record. A record that was created or
// deleted may have added or removed any of the names above it.
func (n *ChangedIDs) Add(op store.Op) {
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
func (n *ChangedIDs) IDs() []store.ID { return n.ids }
