// Package local is what the backends have in common: notification of changes
// within this process, and checks of contexts.
package local

import (
	"context"
	"slices"
	"sync"
)

// Hub notifies watchers in this process of changes. Make it with NewHub.
type Hub struct {
	end     context.CancelFunc
	ended   context.Context
	running sync.WaitGroup // one for each watcher's goroutine

	mu       sync.Mutex
	closed   bool                             // guarded by mu
	watchers map[string]map[*watcher]struct{} // by key; guarded by mu
	readers  map[*reader]struct{}             // of Subscribe; guarded by mu
}

type watcher struct {
	keys []string
	// changed holds at most one token: one call covers all changes before it.
	changed chan struct{}
}

// NewHub returns a hub without watchers. Close it.
func NewHub() *Hub {
	ended, end := context.WithCancel(context.Background())
	return &Hub{end: end, ended: ended, watchers: make(map[string]map[*watcher]struct{}), readers: make(map[*reader]struct{})}
}

// Watch calls notify from a goroutine of the hub after each Changed that names
// one of keys, until ctx or the hub ends. Changes that arrive while notify
// runs are answered by one more call. No change after Watch has returned is
// missed. On a closed hub it does nothing.
func (h *Hub) Watch(ctx context.Context, keys []string, notify func()) {
	w := &watcher{keys: slices.Clone(keys), changed: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || ctx.Err() != nil {
		return
	}
	for _, key := range w.keys {
		if h.watchers[key] == nil {
			h.watchers[key] = make(map[*watcher]struct{})
		}
		h.watchers[key][w] = struct{}{}
	}
	h.running.Go(func() { h.serve(ctx, w, notify) })
}

func (h *Hub) serve(ctx context.Context, w *watcher, notify func()) {
	defer h.forget(w)
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.ended.Done():
			return
		case <-w.changed:
		}
		// select chooses at random among what is ready: without this check a
		// watch that has ended could still call.
		if ctx.Err() != nil || h.ended.Err() != nil {
			return
		}
		notify()
	}
}

func (h *Hub) forget(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range w.keys {
		delete(h.watchers[key], w)
		if len(h.watchers[key]) == 0 {
			delete(h.watchers, key)
		}
	}
}

// Changed wakes the watchers of keys. It never blocks on a watcher.
func (h *Hub) Changed(keys ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watchers) == 0 {
		return
	}
	for _, key := range keys {
		for w := range h.watchers[key] {
			select {
			case w.changed <- struct{}{}:
			default:
			}
		}
	}
}

// Close ends all watches and waits until no notify runs any longer.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.end()
	h.running.Wait()
}
