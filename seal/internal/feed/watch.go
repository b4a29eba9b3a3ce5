// Package feed reports changes of secrets: a watch waits for one secret, a
// stream has the names of all that change below a folder.
//
// The backend's change feed carries hashed ids of records and listings. The
// feed reads it once for all watches and streams of this server.
package feed

import (
	"context"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/names"
	"secretstore/seal/internal/records"
	"secretstore/store"
)

// Feed makes watches and streams.
type Feed struct {
	backend store.Backend
	barrier *barrier.Barrier
	folders *names.Folders
	reader  *records.Reader
	log     *zap.Logger

	watchers *watchers
	tracker  *tracker
}

// New returns the feed of a backend. maxNames is how many secrets and how many
// folders streams can follow by name. New is to be called before the first use
// of the barrier.
func New(backend store.Backend, b *barrier.Barrier, folders *names.Folders, reader *records.Reader, maxNames int, log *zap.Logger) *Feed {
	f := &Feed{backend: backend, barrier: b, folders: folders, reader: reader, log: log, watchers: newWatchers(), tracker: newTracker(maxNames)}
	b.OnDrop(func() { // let everyone find out that the store is sealed
		f.watchers.wakeAll()
		f.tracker.poke()
	})
	return f
}

// Follow follows the changes of the backend, and returns a function that serves
// the streams until the context ends.
func Follow(ctx context.Context, f *Feed) (run func()) {
	f.backend.Changes(ctx, func(changes store.Changes) {
		f.watchers.changed(changes)
		f.tracker.changed(changes)
	})
	return func() { f.track(ctx) }
}

// Watched returns how many secrets are watched.
func Watched(f *Feed) int {
	f.watchers.mu.Lock()
	defer f.watchers.mu.Unlock()
	return len(f.watchers.byID)
}

// maxWatchReads bounds how many watchers read at once: if one change wakes
// thousands, the first fill the cache for all others.
const maxWatchReads = 32

// watchers wakes those who wait for a secret to change. A watch takes an entry
// here, and no goroutine.
type watchers struct {
	reads *semaphore.Weighted

	mu   sync.Mutex
	byID map[store.ID]map[*Watch]struct{} // guarded by mu
}

func newWatchers() *watchers {
	return &watchers{reads: semaphore.NewWeighted(maxWatchReads), byID: make(map[store.ID]map[*Watch]struct{})}
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

// changed wakes the watches of the secrets that changed.
func (ws *watchers) changed(changes store.Changes) {
	if changes.Missed {
		ws.wakeAll()
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, id := range changes.IDs {
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

// Watch waits for a secret to change. Make it with Feed.Watch and close it. It
// belongs to one goroutine.
type Watch struct {
	feed  *Feed
	path  acl.Path
	id    store.ID
	woken chan struct{} // capacity 1
}

// Watch starts to watch a secret, whether or not it exists: no change after
// Watch has returned is missed. So call Look first, and again whenever Woken
// says so. ErrSealed and the like.
func (f *Feed) Watch(p acl.Path) (*Watch, error) {
	at, err := f.barrier.Locate(p)
	if err != nil {
		return nil, err
	}
	w := &Watch{feed: f, path: p, id: store.RecordID(at.Key), woken: make(chan struct{}, 1)}
	f.watchers.add(w)
	return w, nil
}

// Woken has a token when it is time to call Look again: the secret may have
// changed, or the store may have been sealed.
func (w *Watch) Woken() <-chan struct{} { return w.woken }

// Close ends the watch.
func (w *Watch) Close() { w.feed.watchers.remove(w) }

func (w *Watch) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// Look reads the secret, from memory if it is there. If its value id is still
// known, Look returns the secret without its value, and does not read all of
// it. The errors are those of Secrets.Get.
func (w *Watch) Look(ctx context.Context, known string) (records.Secret, error) {
	return w.LookBounded(ctx, known, nil)
}

// LookBounded is Look for callers that bound their memory: see
// records.Options.Admit. admit must not wait, because other watches wait for it.
func (w *Watch) LookBounded(ctx context.Context, known string, admit func(size int64) error) (records.Secret, error) {
	if w.feed.watchers.reads.Acquire(ctx, 1) != nil {
		return records.Secret{}, store.ErrUnavailable
	}
	defer w.feed.watchers.reads.Release(1)
	return w.feed.reader.Get(ctx, w.path, store.Cached, records.Options{KnownID: known, Admit: admit})
}
