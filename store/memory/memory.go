// Package memory is the storage `memory:`, which lasts as long as the process,
// and the model that the other backends are compared with. Like every storage it
// contains opaque bytes, never plaintext.
package memory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"secretstore/store"
	"secretstore/store/internal/local"
)

var errClosed = fmt.Errorf("%w: memory backend is closed", store.ErrUnavailable)

// Backend is a store.Backend in memory. Make it with New. Several servers may
// share one, or each have its own on the same records (Attach).
type Backend struct {
	records *records
	hub     *local.Hub
	closed  atomic.Bool
	closing chan struct{} // closed once closed is set
	ending  sync.Once     // of Close
}

var (
	_ store.Backend     = (*Backend)(nil)
	_ store.Announcer   = (*Backend)(nil)
	_ store.Snapshotter = (*Backend)(nil)
)

// New returns a backend without records.
func New() *Backend {
	return newBackend(&records{
		byKey:    make(map[store.Key]record),
		children: make(map[store.Key]map[string]int),
		hubs:     make(map[*local.Hub]struct{}),
		live:     make(map[string][]byte),
	})
}

// Attach returns another backend on the same records, as another server has
// its own connection to the same ensemble. Each is closed separately; the
// records are lost with the last.
func (b *Backend) Attach() *Backend { return newBackend(b.records) }

func newBackend(r *records) *Backend {
	b := &Backend{records: r, hub: local.NewHub(), closing: make(chan struct{})}
	r.join(b.hub)
	return b
}

// Get implements store.Backend. The answer is never stale.
func (b *Backend) Get(ctx context.Context, key store.Key, _ store.Consistency) (store.Node, error) {
	if err := b.ready(ctx); err != nil {
		return store.Node{}, err
	}
	if err := store.ValidKey(key); err != nil {
		return store.Node{}, err
	}
	return b.records.get(key)
}

// Children implements store.Backend. The answer is never stale.
func (b *Backend) Children(ctx context.Context, key store.Key, _ store.Consistency) (store.Listing, error) {
	if err := b.ready(ctx); err != nil {
		return store.Listing{}, err
	}
	if key != "" {
		if err := store.ValidKey(key); err != nil {
			return store.Listing{}, err
		}
	}
	return store.Listing{Names: b.records.names(key)}, nil
}

// Apply implements store.Backend.
func (b *Backend) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	if err := store.CheckOps(ops); err != nil {
		return nil, err
	}
	return b.records.apply(ops)
}

// Watch implements store.Backend.
func (b *Backend) Watch(ctx context.Context, keys []store.Key, notify func()) {
	b.hub.Watch(ctx, keys, notify)
}

// Changes implements store.Backend.
func (b *Backend) Changes(ctx context.Context, notify func(store.Changes)) {
	b.hub.Subscribe(ctx, notify)
}

// Ping implements store.Backend.
func (b *Backend) Ping(ctx context.Context) error { return b.ready(ctx) }

// Close implements store.Backend. Other backends on the same records stay open.
func (b *Backend) Close() error {
	b.ending.Do(func() {
		b.closed.Store(true)
		close(b.closing)
		b.records.leave(b.hub)
		b.hub.Close()
	})
	return nil
}

func (b *Backend) ready(ctx context.Context) error {
	if b.closed.Load() {
		return errClosed
	}
	return local.Expired(ctx)
}

// records is what backends on the same memory share.
type records struct {
	mu    sync.RWMutex
	byKey map[store.Key]record // guarded by mu
	// children counts, for each key and each name directly below it, the
	// records at or below that name. Guarded by mu.
	children map[store.Key]map[string]int
	last     store.Version           // the last version given out; guarded by mu
	hubs     map[*local.Hub]struct{} // guarded by mu
	live     map[string][]byte       // the announcements by id; guarded by mu
}

// record is never changed in place: readers keep its data after they release mu.
type record struct {
	data    []byte
	version store.Version
}

func (r *records) join(h *local.Hub) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hubs[h] = struct{}{}
}

func (r *records) leave(h *local.Hub) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.hubs, h)
}

func (r *records) get(key store.Key) (store.Node, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec, ok := r.byKey[key]
	if !ok {
		return store.Node{}, store.ErrNotFound
	}
	return store.Node{Data: rec.data, Version: rec.version, Revision: store.Revision(rec.version)}, nil
}

func (r *records) names(key store.Key) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := make([]string, 0, len(r.children[key]))
	for name := range r.children[key] {
		names = append(names, name)
	}
	return names
}
