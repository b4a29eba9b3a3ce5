package seal

import (
	"errors"
	"strings"
	"sync"

	"secretstore/acl"
	"secretstore/store"
)

// EventKind is what an Event tells. The zero value is none.
type EventKind int

// The kinds of event.
const (
	EventChanged EventKind = iota + 1 // created, or has another value
	EventDeleted
	// EventResync: changes may have been missed; whoever keeps something of the
	// secrets looks at all of them again.
	EventResync
)

// Event is word of one secret, without its value. It may come in vain, or twice.
type Event struct {
	Kind    EventKind
	Path    acl.Path // unless Kind is EventResync
	Version uint64   // of EventChanged: as in Secret
	ID      string   // of EventChanged: as in Secret
}

// ErrTooManyNames: there are more secrets than are followed by name.
var ErrTooManyNames = errors.New("too many secrets to follow by name")

// maxQueued bounds the events that wait for one reader of a stream; beyond it
// they are forgotten and the reader gets EventResync.
const maxQueued = 256

// Stream tells one reader of the secrets below a folder. Make it with
// Store.Stream and close it.
type Stream struct {
	tracker *tracker
	under   acl.Path
	woken   chan struct{} // capacity 1
	ready   chan struct{} // closed once nothing is missed any more, or the stream has ended

	// Guarded by the tracker's mutex:
	opened bool
	queue  []Event
	ended  error // why nothing comes any more
}

// Woken holds a token when there is something to Take.
func (st *Stream) Woken() <-chan struct{} { return st.woken }

// Take returns the events since the last time, and with an error why there will
// be no more: ErrSealed, ErrTooManyNames and the like.
func (st *Stream) Take() ([]Event, error) {
	st.tracker.mu.Lock()
	defer st.tracker.mu.Unlock()
	events := st.queue
	st.queue = nil
	return events, st.ended
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
		st.queue, e = st.queue[:0], Event{Kind: EventResync}
	}
	st.queue = append(st.queue, e)
	st.wake()
}

// open lets the maker of the stream go on. The caller holds the tracker's mutex.
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

// covers says whether p lies below the stream's folder.
func (st *Stream) covers(p acl.Path) bool {
	return strings.HasPrefix(p.String(), prefixOf(st.under.String()))
}

// tracker gives the changes, of which the storage tells hashes, the names of the
// secrets, for all streams of this server.
type tracker struct {
	wakeUp chan struct{} // capacity 1
	most   int           // names of secrets that are kept, and of folders

	mu      sync.Mutex
	streams map[*Stream]struct{} // guarded by mu
	untold  map[store.ID]bool    // changes that were not looked at yet; guarded by mu
	missed  bool                 // guarded by mu
}

// maxUntold bounds the changes that wait to be looked at.
const maxUntold = 1 << 16

func newTracker() *tracker {
	return &tracker{wakeUp: make(chan struct{}, 1), most: maxTracked, streams: make(map[*Stream]struct{}), untold: make(map[store.ID]bool)}
}

func (t *tracker) poke() {
	select {
	case t.wakeUp <- struct{}{}:
	default:
	}
}

// changed notes news while there are streams.
func (t *tracker) changed(news store.Changes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.streams) == 0 {
		return
	}
	t.missed = t.missed || news.Missed
	for _, id := range news.IDs {
		t.untold[id] = true
	}
	if len(t.untold) > maxUntold {
		t.untold, t.missed = make(map[store.ID]bool), true
	}
	t.poke()
}

// again puts back what could not be looked at.
func (t *tracker) again(ids map[store.ID]bool, missed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missed = t.missed || missed
	for id := range ids {
		t.untold[id] = true
	}
}

// take returns what there is to look at.
func (t *tracker) take() (ids map[store.ID]bool, missed, wanted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids, missed = t.untold, t.missed
	t.untold, t.missed = make(map[store.ID]bool), false
	return ids, missed, len(t.streams) > 0
}

// wanted says whether any stream covers p.
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

func (t *tracker) tell(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for st := range t.streams {
		if st.opened && (e.Kind == EventResync || st.covers(e.Path)) {
			st.put(e)
		}
	}
}

// openAll lets those go on who wait for the names to be known.
func (t *tracker) openAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for st := range t.streams {
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
	t.untold, t.missed = make(map[store.ID]bool), false
}
