package seal

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"secretstore/acl"
	"secretstore/store"
)

// maxWatchLooks bounds how many watchers look again at once: when thousands are
// woken by one change, the first fill the cache for all others.
const maxWatchLooks = 32

// watchers wakes those who wait for a secret to change. The store reads the
// changes of its backend once for all of them; one who waits costs an entry
// here, and no goroutine.
type watchers struct {
	looks *semaphore.Weighted

	mu   sync.Mutex
	byID map[store.ID]map[*Watch]struct{} // guarded by mu
}

func newWatchers() *watchers {
	return &watchers{looks: semaphore.NewWeighted(maxWatchLooks), byID: make(map[store.ID]map[*Watch]struct{})}
}

func (ws *watchers) add(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byID[w.id] == nil {
		ws.byID[w.id] = make(map[*Watch]struct{})
	}
	ws.byID[w.id][w] = struct{}{}
}

func (ws *watchers) remove(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.byID[w.id], w)
	if len(ws.byID[w.id]) == 0 {
		delete(ws.byID, w.id)
	}
}

// changed wakes those whom the news concerns.
func (ws *watchers) changed(news store.Changes) {
	if news.Missed {
		ws.wakeAll()
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, id := range news.IDs {
		for w := range ws.byID[id] {
			w.wake()
		}
	}
}

func (ws *watchers) wakeAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, waiting := range ws.byID {
		for w := range waiting {
			w.wake()
		}
	}
}

// changed passes the news of the storage on.
func (s *Store) changed(news store.Changes) {
	s.watchers.changed(news)
	s.tracker.changed(news)
}

// keysDropped has everybody who waits find out that the store is sealed.
func (s *Store) keysDropped() {
	s.watchers.wakeAll()
	s.tracker.poke()
}

// Watch is one who waits for a secret to change. Make it with Store.Watch and
// close it. It belongs to one goroutine.
type Watch struct {
	store *Store
	path  acl.Path
	id    store.ID
	woken chan struct{} // capacity 1
}

// Watch begins to watch a secret, whether or not it exists: no change after
// Watch has returned is missed. So look first, and whenever Woken says so.
// ErrSealed and the like.
func (s *Store) Watch(p acl.Path) (*Watch, error) {
	key, err := s.keyOf(p)
	if err != nil {
		return nil, err
	}
	w := &Watch{store: s, path: p, id: store.RecordID(key), woken: make(chan struct{}, 1)}
	s.watchers.add(w)
	return w, nil
}

// Woken holds a token when it is time to look again: the secret may have
// changed, or the store may have been sealed.
func (w *Watch) Woken() <-chan struct{} { return w.woken }

// Close ends the watch.
func (w *Watch) Close() { w.store.watchers.remove(w) }

func (w *Watch) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// Look reads the secret, from memory where it is known. If its value id is
// still known, the secret has no value, and not all of it was read. The errors
// are those of Get.
func (w *Watch) Look(ctx context.Context, known string) (Secret, error) {
	if w.store.watchers.looks.Acquire(ctx, 1) != nil {
		return Secret{}, store.ErrUnavailable
	}
	defer w.store.watchers.looks.Release(1)
	return w.store.get(ctx, w.path, 0, known, store.Cached, nil)
}
