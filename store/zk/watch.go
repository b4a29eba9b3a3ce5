package zk

import (
	"context"
	"sync"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

// watched counts the watches on each znode.
type watched struct {
	mu    sync.Mutex
	paths map[string]int // guarded by mu
}

func (w *watched) add(path string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paths == nil {
		w.paths = make(map[string]int)
	}
	if w.paths[path] += n; w.paths[path] == 0 {
		delete(w.paths, path)
	}
}

func (w *watched) has(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paths[path] > 0
}

func (w *watched) all(each func(path string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path := range w.paths {
		each(path)
	}
}

// Watch implements store.Backend with a watch on each of the znodes, so that
// changes by zkCli are seen as well. It also notifies once when the watches
// are set, and after each reconnect. Meant for a few keys: each costs a watch
// on the connection. Keys that are not valid are ignored.
func (b *Backend) Watch(ctx context.Context, keys []store.Key, notify func()) {
	var paths []string
	for _, key := range keys {
		if checkKey(key) == nil {
			paths = append(paths, b.path(key))
		}
	}
	b.watchPaths(ctx, paths, notify)
}

// Changes implements store.Backend with what all servers publish. What is
// changed by zkCli is not told.
func (b *Backend) Changes(ctx context.Context, notify func(store.Changes)) {
	b.hub.Subscribe(ctx, notify)
}

func (b *Backend) watchPaths(ctx context.Context, paths []string, notify func()) {
	if b.ready(ctx) != nil {
		return
	}
	b.hub.Watch(ctx, paths, notify)
	for _, path := range paths {
		b.watch.add(path, 1)
		context.AfterFunc(ctx, func() { b.watch.add(path, -1) })
		if l, _ := b.link(); l != nil {
			l.dirty.add(path, false)
		}
	}
}

// arm sets the watch on path if it is not set, and then tells the watchers:
// what they read now is not older than the watch.
func (b *Backend) arm(l *link, armed map[string]bool, path string, fired bool) error {
	if fired {
		delete(armed, path)
	}
	if !b.watch.has(path) {
		return nil
	}
	if !armed[path] {
		_, err := do(b.ctx, l, func(c *zkc.Conn) (bool, error) {
			exists, _, _, err := c.ExistsW(path)
			return exists, err
		})
		if err != nil {
			return err
		}
		armed[path] = true
		// What was read before the watch was set may be older than it.
		if key, ok := b.key(path); ok {
			b.dropRecord(recordID(key))
		}
	}
	b.hub.Changed(path)
	return nil
}
