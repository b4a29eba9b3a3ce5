package feed

import (
	"errors"
	"strings"
	"sync"

	"secretstore/acl"
	"secretstore/store"
)

// EventKind is the kind of an Event. The zero value is not one.
type EventKind int

// The kinds of event.
const (
	EventChanged EventKind = iota + 1 // created, or has another value
	EventDeleted
	// EventResync: changes may have been missed; a reader that keeps anything
	// about the secrets reads all of them again.
	EventResync
	// EventIncomplete: damaged records are skipped, and changes of the secrets
	// that they belong to are not reported, until the next EventResync.
	EventIncomplete
)

// Event reports a change of one secret, without its value. An event may come
// without a change, or twice.
type Event struct {
	Kind    EventKind
	Path    acl.Path // of EventChanged and EventDeleted
	Version uint64   // of EventChanged: as in Secret
	ID      string   // of EventChanged: as in Secret
}

// ErrTooManyNames is documented in package seal.
var ErrTooManyNames = errors.New("too many secrets to follow by name")

// maxQueued bounds the events that wait for one reader of a stream. Beyond it
// they are dropped and the reader gets EventResync.
const maxQueued = 256

// Stream has the changes of the secrets below a folder, for one reader. Make it
// with Feed.Stream and close it.
type Stream struct {
	tracker *tracker
	folder  acl.Path
	woken   chan struct{} // capacity 1
	ready   chan struct{} // closed once no change is missed any more, or the stream has ended

	// Guarded by the tracker's mutex:
	opened     bool
	incomplete bool // EventIncomplete is in force
	queue      []Event
	ended      error // why the stream has ended
}

// Woken has a token when Take has something to return.
func (st *Stream) Woken() <-chan struct{} { return st.woken }

// Take returns the events since the last call. If the stream has ended it also
// returns the reason: ErrSealed, ErrTooManyNames and the like.
func (st *Stream) Take() ([]Event, error) {
	st.tracker.mu.Lock()
	defer st.tracker.mu.Unlock()
	events := st.queue
	st.queue = nil
	return events, st.ended
}

// err returns why the stream has ended, nil if it has not.
func (st *Stream) err() error {
	st.tracker.mu.Lock()
	defer st.tracker.mu.Unlock()
	return st.ended
}

// Close ends the stream.
func (st *Stream) Close() {
	st.tracker.mu.Lock()
	defer st.tracker.mu.Unlock()
	delete(st.tracker.streams, st)
	if len(st.tracker.streams) == 0 {
		st.tracker.poke() // to forget the names
	}
}

// put queues an event. The caller holds the tracker's mutex.
func (st *Stream) put(e Event) {
	if len(st.queue) == maxQueued || e.Kind == EventResync {
		st.queue = append(st.queue[:0], Event{Kind: EventResync})
		if st.incomplete {
			st.queue = append(st.queue, Event{Kind: EventIncomplete}) // it may have been dropped
		}
	} else {
		st.queue = append(st.queue, e)
	}
	st.wake()
}

// skips notes whether records are skipped that may be of secrets in the stream.
// The caller holds the tracker's mutex.
func (st *Stream) skips(incomplete bool) {
	switch {
	case incomplete && !st.incomplete:
		st.put(Event{Kind: EventIncomplete})
	case !incomplete && st.incomplete:
		st.incomplete = false
		st.put(Event{Kind: EventResync}) // they can be read again
	}
	st.incomplete = incomplete
}

// open lets the maker of the stream continue. The caller holds the tracker's
// mutex.
func (st *Stream) open(err error) {
	st.ended = err
	if !st.opened {
		st.opened = true
		close(st.ready)
	}
	if err != nil {
		st.wake()
	}
}

func (st *Stream) wake() {
	select {
	case st.woken <- struct{}{}:
	default:
	}
}

// covers reports whether p is below the stream's folder.
func (st *Stream) covers(p acl.Path) bool { return below(st.folder, p.String()) }

// below reports whether the secret at path is below a folder.
func below(folder acl.Path, path string) bool {
	return folder.IsRoot() || strings.HasPrefix(path, folder.String()+"/")
}

// tracker maps the hashed ids in the change feed back to the names of secrets,
// for all streams of this server.
type tracker struct {
	wakeUp   chan struct{} // capacity 1
	maxNames int           // names of secrets that are kept, and of folders

	mu      sync.Mutex
	streams map[*Stream]struct{} // guarded by mu
	pending map[store.ID]bool    // changes that were not looked up yet; guarded by mu
	missed  bool                 // guarded by mu
}

// maxPending bounds the changes that wait to be looked up.
const maxPending = 1 << 16

func newTracker(maxNames int) *tracker {
	return &tracker{wakeUp: make(chan struct{}, 1), maxNames: maxNames, streams: make(map[*Stream]struct{}), pending: make(map[store.ID]bool)}
}

func (t *tracker) poke() {
	select {
	case t.wakeUp <- struct{}{}:
	default:
	}
}

// changed notes changes while there are streams.
func (t *tracker) changed(changes store.Changes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.streams) == 0 {
		return
	}
	t.missed = t.missed || changes.Missed
	for _, id := range changes.IDs {
		t.pending[id] = true
	}
	if len(t.pending) > maxPending {
		t.pending, t.missed = make(map[store.ID]bool), true
	}
	t.poke()
}

// add starts a stream.
func (t *tracker) add(folder acl.Path) *Stream {
	st := &Stream{tracker: t, folder: folder, woken: make(chan struct{}, 1), ready: make(chan struct{})}
	t.mu.Lock()
	t.streams[st] = struct{}{}
	t.mu.Unlock()
	t.poke()
	return st
}

// putBack returns changes that could not be looked up.
func (t *tracker) putBack(ids map[store.ID]bool, missed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missed = t.missed || missed
	for id := range ids {
		t.pending[id] = true
	}
}

// take returns the changes to look up, and whether there are any streams.
func (t *tracker) take() (ids map[store.ID]bool, missed, wanted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids, missed = t.pending, t.missed
	t.pending, t.missed = make(map[store.ID]bool), false
	return ids, missed, len(t.streams) > 0
}

// wanted reports whether any stream covers p.
func (t *tracker) wanted(p acl.Path) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for st := range t.streams {
		if st.covers(p) {
			return true
		}
	}
	return false
}

func (t *tracker) notify(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for st := range t.streams {
		if st.opened && (e.Kind == EventResync || st.covers(e.Path)) {
			st.put(e)
		}
	}
}

// openAll opens the streams that wait for the names to be known. skipped reports
// whether damaged records may be of secrets below a folder.
func (t *tracker) openAll(skipped func(folder acl.Path) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for st := range t.streams {
		st.skips(skipped(st.folder))
		st.open(nil)
	}
}

// endAll ends all streams.
func (t *tracker) endAll(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for st := range t.streams {
		st.queue = nil
		st.open(why)
	}
	clear(t.streams)
	t.pending, t.missed = make(map[store.ID]bool), false
}
