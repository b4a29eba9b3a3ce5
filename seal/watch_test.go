package seal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/seal/internal/feed"
	"secretstore/store"
	"secretstore/store/memory"
)

func watch(t *testing.T, s *Store, p acl.Path) *Watch {
	t.Helper()
	w, err := s.Watch(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// awaitWake waits for a token in the channel woken.
func awaitWake(t *testing.T, what string, woken <-chan struct{}) {
	t.Helper()
	select {
	case <-woken:
	case <-time.After(3 * time.Minute):
		t.Fatalf("%s: not woken", what)
	}
}

func create(t *testing.T, s *Store, p acl.Path, value string) string {
	t.Helper()
	written, err := s.Create(t.Context(), p, text(value))
	if err != nil {
		t.Fatal(err)
	}
	return written.ID
}

func replace(t *testing.T, s *Store, p acl.Path, value string) string {
	t.Helper()
	written, err := s.Update(t.Context(), p, text(value))
	if err != nil {
		t.Fatal(err)
	}
	return written.ID
}

func TestWatchWakesOnEachChangeOfItsSecretAndOnSeal(t *testing.T) {
	s, b, key := unsealed(t)
	other := open(t, b, false)
	if _, err := other.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	p := path(t, "group/a")
	w := watch(t, s, p)
	if _, err := w.Look(t.Context(), ""); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Look = %v", err)
	}
	id := create(t, other, p, "v")
	awaitWake(t, "created elsewhere", w.Woken())
	got, err := w.Look(t.Context(), "")
	if err != nil || got.ID != id || string(got.Value) != "v" {
		t.Fatalf("Look = %+v, %v", got, err)
	}
	if got, err = w.Look(t.Context(), id); err != nil || got.ID != id || got.Value != nil {
		t.Fatalf("Look with the current id = %+v, %v", got, err)
	}
	create(t, s, path(t, "group/b"), "v") // must not wake it
	id = replace(t, s, p, "w")
	awaitWake(t, "updated", w.Woken())
	if got, err = w.Look(t.Context(), "00"); err != nil || got.ID != id {
		t.Fatalf("Look = %+v, %v", got, err)
	}
	if err := s.Delete(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	awaitWake(t, "deleted", w.Woken())
	if _, err := w.Look(t.Context(), id); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Look = %v", err)
	}
	if _, err := other.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	awaitWake(t, "sealed elsewhere", w.Woken())
	if _, err := w.Look(t.Context(), id); !errors.Is(err, ErrSealed) {
		t.Fatalf("Look = %v", err)
	}
	if _, err := s.Watch(p); !errors.Is(err, ErrSealed) {
		t.Fatalf("Watch = %v", err)
	}
}

// TestRotationWakesNoWatchOrStream: re-encryption does not change the values.
func TestRotationWakesNoWatchOrStream(t *testing.T) {
	s, _, _ := unsealed(t)
	p, last := path(t, "group/a"), path(t, "group/last")
	id := create(t, s, p, "v")
	w := watch(t, s, p)
	st := stream(t, s, "")
	before := path(t, "group/before") // once this event is here, so are all earlier ones
	create(t, s, before, "v")
	awaitEvents(t, st, Event{Kind: EventChanged, Path: before})
	select {
	case <-w.Woken(): // by its own creation
	default:
	}
	if _, err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		status, err := s.RotationStatus(t.Context())
		if err == nil && status.State == RotationIdle {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still rotating: %+v, %v", status, err)
		}
	}
	if got, err := s.Get(t.Context(), p, store.Latest); err != nil || got.ID != id {
		t.Fatalf("after the rotation: %+v, %v", got, err)
	}
	create(t, s, last, "v")
	if all := awaitEvents(t, st, Event{Kind: EventChanged, Path: last}); len(all) != 1 {
		t.Errorf("events %+v", all)
	}
	select {
	case <-w.Woken():
		t.Error("the watch was woken")
	default:
	}
}

// TestNoChangeIsMissedBetweenReadingAndWaiting has many watchers read and wait
// while another server writes. All must see the last value.
func TestNoChangeIsMissedBetweenReadingAndWaiting(t *testing.T) {
	s, b, key := unsealed(t)
	other := open(t, b, false)
	if _, err := other.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	const readers, writes = 50, 100
	p := path(t, "a")
	create(t, s, p, "0")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			w, err := s.Watch(p)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			known := ""
			for {
				got, err := w.Look(ctx, known)
				if err != nil {
					t.Error(err)
					return
				}
				if known = got.ID; string(got.Value) == fmt.Sprint(writes) {
					return
				}
				select {
				case <-w.Woken():
				case <-ctx.Done():
					t.Error("the last change was missed")
					return
				}
			}
		})
	}
	for i := 1; i <= writes; i++ {
		replace(t, other, p, fmt.Sprint(i))
	}
	wg.Wait()
	if n := feed.Watched(s.Feed); n != 0 {
		t.Errorf("%d watches are left open", n)
	}
}

func stream(t *testing.T, s *Store, folder string) *Stream {
	t.Helper()
	f, err := acl.ParseFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Stream(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return st
}

// awaitEvents returns the events up to the first with the kind and path of want.
func awaitEvents(t *testing.T, st *Stream, want Event) (all []Event) {
	t.Helper()
	for {
		awaitWake(t, fmt.Sprintf("waiting for %+v after %+v", want, all), st.Woken())
		events, err := st.Take()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			all = append(all, e)
			if e.Kind == want.Kind && e.Path == want.Path {
				return all
			}
		}
	}
}

func TestStreamReportsChangesBelowItsFolder(t *testing.T) {
	s, b, key := unsealed(t)
	other := open(t, b, false)
	if _, err := other.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	create(t, s, path(t, "group/old"), "v")
	st, sub := stream(t, s, ""), stream(t, s, "group")
	for i, p := range []acl.Path{path(t, "new"), path(t, "group/new"), path(t, "group/deep/er/new"), path(t, "groups/new")} {
		writer := []*Store{s, other}[i%2]
		id := create(t, writer, p, "v")
		all := awaitEvents(t, st, Event{Kind: EventChanged, Path: p})
		if e := all[len(all)-1]; e.ID != id || e.Version != 1 {
			t.Errorf("event %+v, want version 1 and id %s", e, id)
		}
		id = replace(t, writer, p, "w")
		all = awaitEvents(t, st, Event{Kind: EventChanged, Path: p})
		if e := all[len(all)-1]; e.ID != id || e.Version != 2 {
			t.Errorf("event %+v, want version 2 and id %s", e, id)
		}
		if err := writer.Delete(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
		awaitEvents(t, st, Event{Kind: EventDeleted, Path: p})
		create(t, writer, p, "again")
		awaitEvents(t, st, Event{Kind: EventChanged, Path: p})
	}
	old := path(t, "group/old")
	if err := other.Delete(t.Context(), old, nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range awaitEvents(t, sub, Event{Kind: EventDeleted, Path: old}) {
		if e.Path.String() == "new" || e.Path.String() == "groups/new" {
			t.Errorf("event for %s, which is not below the folder", e.Path)
		}
	}
}

func TestSlowStreamReaderGetsResync(t *testing.T) {
	t.Parallel()
	s, _, _ := unsealed(t)
	slow, fast := stream(t, s, ""), stream(t, s, "")
	const many, batch = maxQueued + 45, 100 // the last batch is one secret
	for first := 0; first < many; first += batch {
		missing := make(map[acl.Path]bool)
		for i := first; i < min(first+batch, many); i++ {
			p := path(t, fmt.Sprint("a", i))
			create(t, s, p, "v")
			missing[p] = true
		}
		for len(missing) > 0 {
			awaitWake(t, "waiting for a batch", fast.Woken())
			events, err := fast.Take()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				delete(missing, e.Path)
			}
		}
	}
	events, err := slow.Take()
	if err != nil || len(events) > maxQueued || events[0].Kind != EventResync {
		t.Errorf("%d events, the first %+v, %v", len(events), events[0], err)
	}
	if e := events[len(events)-1]; e.Path != path(t, fmt.Sprint("a", many-1)) {
		t.Errorf("the last event is %+v", e)
	}
}

// gappy is a backend that can miss changes.
type gappy struct {
	*memory.Backend
	mu     sync.Mutex
	notify []func(store.Changes) // guarded by mu
	deaf   bool                  // changes are dropped; guarded by mu
}

func (g *gappy) Changes(ctx context.Context, notify func(store.Changes)) {
	g.mu.Lock()
	g.notify = append(g.notify, notify)
	g.mu.Unlock()
	g.Backend.Changes(ctx, func(c store.Changes) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.deaf {
			notify(c)
		}
	})
}

// setDeaf begins to drop changes, or ends it and reports that some were missed.
func (g *gappy) setDeaf(deaf bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.deaf = deaf; !deaf {
		for _, notify := range g.notify {
			notify(store.Changes{Missed: true})
		}
	}
}

func TestMissedChangesWakeAllWatchesAndSendResync(t *testing.T) {
	g := &gappy{Backend: memory.New()}
	s, _ := unsealedOn(t, g)
	p, created := path(t, "group/a"), path(t, "group/b")
	create(t, s, p, "v")
	w, st := watch(t, s, p), stream(t, s, "group")
	g.setDeaf(true)
	id := replace(t, s, p, "w")
	create(t, s, created, "v")
	g.setDeaf(false)
	awaitWake(t, "missed", w.Woken())
	if got, err := w.Look(t.Context(), ""); err != nil || got.ID != id {
		t.Errorf("Look = %+v, %v", got, err)
	}
	awaitEvents(t, st, Event{Kind: EventResync})
	// The name of the secret created in the gap is known by now.
	replace(t, s, created, "w")
	awaitEvents(t, st, Event{Kind: EventChanged, Path: created})
}

// TestDeletedNamesDoNotCountAgainstTheStreamLimit creates and deletes more
// secrets than the limit allows, each in its own folder outside the stream.
func TestDeletedNamesDoNotCountAgainstTheStreamLimit(t *testing.T) {
	s, _, _ := unsealed(t)
	const most = 4
	s.Feed = feed.New(s.backend, s.barrier, s.folders, s.reader, most, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.owned.Go(feed.Follow(ctx, s.Feed))
	st := stream(t, s, "group")
	p := path(t, "group/a")
	create(t, s, p, "v")
	for i := range 3 * most {
		deleted := path(t, fmt.Sprintf("job%d/s", i))
		create(t, s, deleted, "v")
		replace(t, s, p, "w")
		awaitEvents(t, st, Event{Kind: EventChanged, Path: p}) // by then the other name is known too
		if err := s.Delete(t.Context(), deleted, nil); err != nil {
			t.Fatal(err)
		}
		s.cleanup.Wait() // removes its folder
	}
	// Too many live names end the stream.
	for i := range most {
		create(t, s, path(t, fmt.Sprintf("group/more%d", i)), "v")
	}
	for {
		awaitWake(t, "too many", st.Woken())
		if _, err := st.Take(); err != nil {
			wantErr(t, "a stream of too many", err, ErrTooManyNames)
			return
		}
	}
}

func TestSealEndsStreams(t *testing.T) {
	s, _, key := unsealed(t)
	st := stream(t, s, "")
	if _, err := s.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	awaitWake(t, "sealed", st.Woken())
	if events, err := st.Take(); !errors.Is(err, ErrSealed) || len(events) > 0 {
		t.Errorf("Take = %+v, %v", events, err)
	}
	if _, err := s.Stream(t.Context(), acl.Path{}); !errors.Is(err, ErrSealed) {
		t.Errorf("Stream = %v", err)
	}
	if _, err := s.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	again := stream(t, s, "")
	create(t, s, path(t, "a"), "v")
	awaitEvents(t, again, Event{Kind: EventChanged, Path: path(t, "a")})
}
