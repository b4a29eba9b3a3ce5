package seal

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
	"secretstore/store/memory"
)

// restarting is a storage whose versions begin again at 0 when a record is made
// anew, as those of ZooKeeper do.
type restarting struct {
	store.Backend
	mu       sync.Mutex
	versions map[store.Key][]store.Version // of the backend, since each record was made; guarded by mu
}

func (b *restarting) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	node, err := b.Backend.Get(ctx, key, c)
	node.Version = store.Version(len(b.versions[key]) - 1)
	return node, err
}

func (b *restarting) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	real := make([]store.Op, len(ops))
	for i, op := range ops {
		real[i] = op
		if op.Kind == store.OpCreate || op.Kind == store.OpEnsure || op.Kind == store.OpBump {
			continue
		}
		real[i].Version = 1 << 40 // none has it
		if known := b.versions[op.Key]; int(op.Version) < len(known) {
			real[i].Version = known[op.Version]
		}
	}
	versions, err := b.Backend.Apply(ctx, real...)
	if err != nil {
		return nil, err
	}
	for i, op := range ops {
		known := b.versions[op.Key]
		switch {
		case op.Kind == store.OpDelete:
			delete(b.versions, op.Key)
		case op.Kind == store.OpCheck, op.Kind == store.OpEnsure && len(known) > 0:
		default:
			b.versions[op.Key] = append(known, versions[i])
			versions[i] = store.Version(len(known))
		}
	}
	return versions, nil
}

// stale is the storage as seen by a server to which, once frozen, no word of a
// change comes: what it has read it answers from memory.
type stale struct {
	store.Backend
	latest atomic.Int64 // reads that asked the storage itself
	// between, if set, is called once after the storage was asked for a record of a
	// secret, deleted or not, and before what it said is handed on.
	between atomic.Pointer[func()]

	mu     sync.Mutex
	known  map[store.Key]store.Node // guarded by mu
	absent map[store.Key]bool       // guarded by mu
	frozen bool                     // guarded by mu
	thawed store.Key                // see freeze; guarded by mu
}

func (b *stale) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if c == store.Latest {
		b.latest.Add(1)
	}
	if node, err, known := b.inMemory(key); known && c == store.Cached {
		return node, err
	}
	node, err := b.Backend.Get(ctx, key, c)
	if strings.HasPrefix(key, barrier.KeySecrets) || strings.HasPrefix(key, barrier.KeyDeleted) {
		if between := b.between.Swap(nil); between != nil {
			(*between)()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.known[key] = node
	}
	b.absent[key] = errors.Is(err, store.ErrNotFound)
	return node, err
}

func (b *stale) inMemory(key store.Key) (node store.Node, err error, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.frozen || b.thawed != "" && strings.HasPrefix(key, b.thawed) {
		return store.Node{}, nil, false
	}
	if b.absent[key] {
		return store.Node{}, store.ErrNotFound, true
	}
	node, known = b.known[key]
	return node, nil, known
}

// freeze keeps word of all changes away, but of those below keys that begin with
// but, if there is one.
func (b *stale) freeze(but store.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen, b.thawed = true, but
}

// twoServers returns two open stores on one storage, the first of which may come
// to see it as it was.
func twoServers(t *testing.T) (first *Store, view *stale, second *Store) {
	t.Helper()
	b := &restarting{Backend: memory.New(), versions: make(map[store.Key][]store.Version)}
	view = &stale{Backend: b, known: make(map[store.Key]store.Node), absent: make(map[store.Key]bool)}
	first, key := unsealedOn(t, view)
	second = open(t, b, false)
	if _, err := second.Unseal(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return first, view, second
}

func described(value, description string) Change {
	c := text(value)
	c.Description = &description
	return c
}

// TestAnUpdateNeverContinuesASecretThatWasDeleted, although one with the same
// version stands in its place and the server has not heard of it.
func TestAnUpdateNeverContinuesASecretThatWasDeleted(t *testing.T) {
	for name, row := range map[string]struct {
		remove func(*Store, context.Context) error
		thawed store.Key // word of this has come all the same
	}{
		"delete":             {func(s *Store, ctx context.Context) error { return s.Delete(ctx, path(t, "f/a"), nil) }, ""},
		"purge":              {func(s *Store, ctx context.Context) error { return s.Purge(ctx, path(t, "f/a"), nil) }, ""},
		"delete, mark known": {func(s *Store, ctx context.Context) error { return s.Delete(ctx, path(t, "f/a"), nil) }, barrier.KeyGenerations},
		"purge, mark known":  {func(s *Store, ctx context.Context) error { return s.Purge(ctx, path(t, "f/a"), nil) }, barrier.KeyGenerations},
	} {
		t.Run(name, func(t *testing.T) {
			first, view, second := twoServers(t)
			ctx, p := t.Context(), path(t, "f/a")
			if _, err := first.Create(ctx, p, described("old", "of the first")); err != nil {
				t.Fatal(err)
			}
			if _, err := first.Get(ctx, p, store.Cached); err != nil {
				t.Fatal(err)
			}
			view.freeze(row.thawed)
			if err := row.remove(second, ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := second.Create(ctx, p, described("new", "of the second")); err != nil {
				t.Fatal(err)
			}
			if _, err := first.Update(ctx, p, text("newer")); err != nil {
				t.Fatal(err)
			}
			got, err := second.Get(ctx, p, store.Latest)
			if err != nil || string(got.Value) != "newer" || got.Description != "of the second" {
				t.Errorf("%q, described as %q, %v: the update continues the secret that was deleted", got.Value, got.Description, err)
			}
			if before, err := second.GetVersion(ctx, p, 1, store.Latest); err != nil || string(before.Value) != "new" {
				t.Errorf("the value before is %q, %v, want the one that was replaced", before.Value, err)
			}
		})
	}
}

// TestAConditionIsJudgedByWhatIsThere, not by what the server has in memory.
func TestAConditionIsJudgedByWhatIsThere(t *testing.T) {
	first, view, second := twoServers(t)
	ctx, p := t.Context(), path(t, "f/a")
	id, err := first.Create(ctx, p, text("old"))
	if err != nil {
		t.Fatal(err)
	}
	view.freeze("")
	newer, err := second.Update(ctx, p, text("new"))
	if err != nil {
		t.Fatal(err)
	}
	c := text("mine")
	c.If = func(is string) bool { return is == id }
	_, err = first.Update(ctx, p, c)
	wantErr(t, "on a value that was replaced", err, ErrChanged)
	c.If = func(is string) bool { return is == newer }
	if _, err := first.Update(ctx, p, c); err != nil {
		t.Errorf("on the present value, which this server has not heard of: %v", err)
	}
}

// TestNothingIsWrittenOverAnotherSecretThanWasRead, although it was made, with
// the same version, between the read and the write.
func TestNothingIsWrittenOverAnotherSecretThanWasRead(t *testing.T) {
	p := path(t, "f/a")
	for name, row := range map[string]struct {
		write   func(ctx context.Context, s *Store, onlyOld Match) error
		deleted bool // it is a deleted secret that is written over
		want    error
	}{
		"update": {func(ctx context.Context, s *Store, onlyOld Match) error {
			c := text("mine")
			c.If = onlyOld
			return errOf(s.Update(ctx, p, c))
		}, false, ErrChanged},
		"delete":           {func(ctx context.Context, s *Store, onlyOld Match) error { return s.Delete(ctx, p, onlyOld) }, false, ErrChanged},
		"purge":            {func(ctx context.Context, s *Store, onlyOld Match) error { return s.Purge(ctx, p, onlyOld) }, false, ErrChanged},
		"delete a version": {func(ctx context.Context, s *Store, _ Match) error { return s.DeleteVersion(ctx, p, 1, nil) }, false, ErrNotFound},
		"undelete":         {func(ctx context.Context, s *Store, _ Match) error { return errOf(s.Undelete(ctx, p)) }, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			first, view, second := twoServers(t)
			ctx := t.Context()
			make := func(values ...string) (id string) {
				t.Helper()
				id, err := second.Create(ctx, p, text(values[0]))
				for _, value := range values[1:] {
					if err == nil {
						id, err = second.Update(ctx, p, text(value))
					}
				}
				if err == nil && row.deleted {
					err = second.Delete(ctx, p, nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				return id
			}
			// The first server knows the mark.
			if err := errOf(first.Create(ctx, path(t, "f/b"), text("v"))); err != nil {
				t.Fatal(err)
			}
			old := make("old 1", "old 2")
			meanwhile := func() {
				if err := second.Purge(ctx, p, nil); err != nil {
					t.Error(err)
				}
				make("new 1")
				if row.deleted {
					return
				}
				if row.want == ErrNotFound {
					keepVersions(second, 0) // nothing earlier is kept of it
				}
				// As many writes as before: the record has the same version.
				if err := errOf(second.Update(ctx, p, text("new 2"))); err != nil {
					t.Error(err)
				}
			}
			view.between.Store(&meanwhile)
			if err := row.write(ctx, first, func(id string) bool { return id == old }); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
			want := "new 2"
			if row.deleted {
				want = "new 1"
			}
			if got, err := second.Get(ctx, p, store.Latest); err != nil || string(got.Value) != want {
				t.Errorf("%q, %v, want %q", got.Value, err, want)
			}
		})
	}
}

// TestAnUpdateDoesWithWhatIsInMemory, whichever server has written it, also when
// others are deleted.
func TestAnUpdateDoesWithWhatIsInMemory(t *testing.T) {
	first, view, second := twoServers(t)
	ctx, p := t.Context(), path(t, "f/a")
	for _, name := range []string{"f/a", "f/b"} {
		if _, err := first.Create(ctx, path(t, name), text("0")); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(what string, want int64) {
		t.Helper()
		before := view.latest.Load()
		if _, err := first.Update(ctx, p, text(what)); err != nil {
			t.Fatal(err)
		}
		if got := view.latest.Load() - before; got > want {
			t.Errorf("%s: %d reads of the storage itself, want at most %d", what, got, want)
		}
	}
	reads("the first update", 0)
	reads("the second", 0)
	if err := first.Delete(ctx, path(t, "f/b"), nil); err != nil {
		t.Fatal(err)
	}
	reads("the first after a delete beside it", 2) // it has to look once
	reads("the one after that", 0)
	if _, err := second.Update(ctx, p, text("of another")); err != nil {
		t.Fatal(err)
	}
	reads("one of what another server has written", 0)
}

// TestEveryDeleteBumpsTheMark that updates rely on.
func TestEveryDeleteBumpsTheMark(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx, p := t.Context(), path(t, "f/a")
	marks := func() map[store.Key]store.Version {
		t.Helper()
		found := make(map[store.Key]store.Version)
		list, err := b.Children(ctx, barrier.KeyGenerations, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range list.Names {
			node, err := b.Get(ctx, barrier.KeyGenerations+"/"+name, store.Latest)
			if err != nil {
				t.Fatal(err)
			}
			found[barrier.KeyGenerations+"/"+name] = node.Version
		}
		return found
	}
	for name, remove := range map[string]func() error{
		"delete":         func() error { return s.Delete(ctx, p, nil) },
		"purge":          func() error { return s.Purge(ctx, p, nil) },
		"another delete": func() error { return s.Delete(ctx, p, nil) }, // over what the first has left
	} {
		if _, err := s.Create(ctx, p, text("v")); err != nil {
			t.Fatal(err)
		}
		before := marks()
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if maps.Equal(before, marks()) {
			t.Errorf("%s: no mark has changed", name)
		}
	}
}

// silent is a storage that answers nobody once it is down, and counts what was
// asked for requests: the store itself goes on asking.
type silent struct {
	store.Backend
	down  atomic.Bool
	asked atomic.Int64
}

type ofRequest struct{}

func (b *silent) answers(ctx context.Context) bool {
	if !b.down.Load() {
		return true
	}
	if ctx.Value(ofRequest{}) != nil {
		b.asked.Add(1)
	}
	return false
}

func (b *silent) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if !b.answers(ctx) {
		return store.Node{}, store.ErrUnavailable
	}
	return b.Backend.Get(ctx, key, c)
}

func (b *silent) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if !b.answers(ctx) {
		return nil, store.ErrUnavailable
	}
	return b.Backend.Apply(ctx, ops...)
}

// TestARequestAsksAStorageThatIsAwayOnce: each question may be waited for, and
// a 503 is due within a second.
func TestARequestAsksAStorageThatIsAwayOnce(t *testing.T) {
	b := &silent{Backend: &restarting{Backend: memory.New(), versions: make(map[store.Key][]store.Version)}}
	s, _ := unsealedOn(t, b)
	ctx, seen := t.Context(), path(t, "f/seen")
	if _, err := s.Create(ctx, seen, text("v")); err != nil {
		t.Fatal(err)
	}
	b.down.Store(true)
	ctx = context.WithValue(ctx, ofRequest{}, true)
	for what, request := range map[string]func() error{
		"a read":               func() error { _, err := s.Get(ctx, seen, store.Cached); return err },
		"a create":             func() error { return errOf(s.Create(ctx, path(t, "f/new"), text("v"))) },
		"an update":            func() error { return errOf(s.Update(ctx, seen, text("w"))) },
		"an update of another": func() error { return errOf(s.Update(ctx, path(t, "f/other"), text("w"))) },
		"a delete":             func() error { return s.Delete(ctx, seen, nil) },
		"a purge":              func() error { return s.Purge(ctx, seen, nil) },
		"an undelete":          func() error { return errOf(s.Undelete(ctx, path(t, "f/gone"))) },
	} {
		before := b.asked.Load()
		wantErr(t, what, request(), store.ErrUnavailable)
		if n := b.asked.Load() - before; n != 1 {
			t.Errorf("%s asked %d times", what, n)
		}
	}
}

// TestALargeValueIsNotRefusedBecauseOfWhatMemoryHolds, which may be behind what
// another server has done.
func TestALargeValueIsNotRefusedBecauseOfWhatMemoryHolds(t *testing.T) {
	first, view, second := twoServers(t)
	ctx, there, gone := t.Context(), path(t, "f/there"), path(t, "f/gone")
	large := Change{Kind: Binary, Value: make([]byte, inlineMax+1)}
	if _, err := first.Create(ctx, gone, text("v")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []acl.Path{there, gone} {
		if _, err := first.Get(ctx, p, store.Cached); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	view.freeze("")
	if _, err := second.Create(ctx, there, text("v")); err != nil {
		t.Fatal(err)
	}
	if err := second.Delete(ctx, gone, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Update(ctx, there, large); err != nil {
		t.Errorf("update of a secret that memory does not know: %v", err)
	}
	if _, err := first.Create(ctx, gone, large); err != nil {
		t.Errorf("create of a secret that memory still knows: %v", err)
	}
}

// TestARotationNeverBringsBackASecretThatWasDeleted: between the look and the
// write of a pass, a secret or what a delete has left is removed and made again.
func TestARotationNeverBringsBackASecretThatWasDeleted(t *testing.T) {
	for name, again := range map[string]func(*testing.T, *Store, acl.Path){
		"secret": func(t *testing.T, s *Store, p acl.Path) {
			succeeds(t, s.Purge(t.Context(), p, nil))
			_, err := s.Create(t.Context(), p, text("new"))
			succeeds(t, err)
		},
		"deleted": func(t *testing.T, s *Store, p acl.Path) {
			_, err := s.Undelete(t.Context(), p)
			succeeds(t, err)
			succeeds(t, s.Purge(t.Context(), p, nil))
			_, err = s.Create(t.Context(), p, text("new"))
			succeeds(t, err)
			succeeds(t, s.Delete(t.Context(), p, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			first, view, second := twoServers(t)
			ctx, p := t.Context(), path(t, "f/a")
			second.cancel() // only the first sweeps
			second.owned.Wait()
			if _, err := first.Create(ctx, p, text("old")); err != nil {
				t.Fatal(err)
			}
			if name == "deleted" {
				succeeds(t, first.Delete(ctx, p, nil))
				first.cleanup.Wait()
			}
			// From now on it knows the folder, and reads only the record.
			if _, err := first.List(ctx, acl.Path{}, Page{}, store.Latest); err != nil {
				t.Fatal(err)
			}
			between := func() { again(t, second, p) }
			view.between.Store(&between)
			if _, err := first.Rotate(ctx); err != nil {
				t.Fatal(err)
			}
			settleRotation(t, first)
			if view.between.Load() != nil {
				t.Fatal("the record was not read")
			}
			if name == "deleted" {
				_, err := second.Undelete(ctx, p)
				succeeds(t, err)
			}
			if got, err := second.Get(ctx, p, store.Latest); err != nil || string(got.Value) != "new" {
				t.Errorf("%q, %v: the rotation has brought back what was deleted", got.Value, err)
			}
		})
	}
}

func succeeds(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
