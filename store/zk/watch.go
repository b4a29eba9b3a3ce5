package zk

import (
	"context"
	"sync"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

// watchedPaths counts the watches on each znode.
type watchedPaths struct {
	mu    sync.Mutex
	paths map[string]int // guarded by mu
}

func (w *watchedPaths) add(path string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paths == nil {
		w.paths = make(map[string]int)
	}
	if w.paths[path] += n; w.paths[path] == 0 {
		delete(w.paths, path)
	}
}

func (w *watchedPaths) has(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paths[path] > 0
}

func (w *watchedPaths) all(each func(path string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for path := range w.paths {
		each(path)
	}
}

// Watch implements store.Backend with a watch on each of the znodes, so that
// changes by zkCli are seen as well. It also notifies once when the watches
// are set, and after each reconnect. It is meant for a few keys: each costs a
// watch on the connection. Keys that are not valid are ignored.
func (b *Backend) Watch(ctx context.Context, keys []store.Key, notify func()) {
	var paths []string
	for _, key := range keys {
		if tree.CheckKey(key) == nil {
			paths = append(paths, b.tree.Path(key))
		}
	}
	b.watchPaths(ctx, paths, notify)
}

// Changes implements store.Backend with what all servers publish. It does not
// report changes by zkCli.
func (b *Backend) Changes(ctx context.Context, notify func(store.Changes)) {
	b.hub.Subscribe(ctx, notify)
}

func (b *Backend) watchPaths(ctx context.Context, paths []string, notify func()) {
	if b.life.ready(ctx) != nil {
		return
	}
	b.hub.Watch(ctx, paths, notify)
	for _, path := range paths {
		b.feed.watches.add(path, 1)
		context.AfterFunc(ctx, func() { b.feed.watches.add(path, -1) })
		if c, _ := b.conns.now(); c != nil {
			c.fired.add(path, false)
		}
	}
}

// arm sets the watch on path if it is not set, and then notifies the watchers:
// what they read now is not older than the watch.
func (f *feed) arm(s *session.Session, armed map[string]bool, path string, fired bool) error {
	if fired {
		delete(armed, path)
	}
	if !f.watches.has(path) {
		return nil
	}
	if !armed[path] {
		_, err := session.Do(f.life.ctx, s, func(c *zkc.Conn) (bool, error) {
			exists, _, _, err := c.ExistsW(path)
			return exists, err
		})
		if err != nil {
			return err
		}
		armed[path] = true
		// What was read before the watch was set may be older than it.
		if key, ok := f.tree.Key(path); ok {
			f.cache.dropRecord(store.RecordID(key))
		}
	}
	f.hub.Changed(path)
	return nil
}
