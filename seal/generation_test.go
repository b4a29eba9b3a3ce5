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

// restarting is a backend whose versions start again at 0 when a record is
// deleted and created again, like those of ZooKeeper.
type restarting struct {
	store.Backend
	mu       sync.Mutex
	versions map[store.Key][]store.Version // versions of Backend since each record was created; guarded by mu
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
		real[i].Version = 1 << 40 // no record has it
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

// stale is the storage as seen by a server that, once frozen, hears of no
// changes: it answers cached reads from what was read before.
type stale struct {
	store.Backend
	latest atomic.Int64 // reads with store.Latest
	// between, if set, is called once, after the storage has answered a read of
	// the record of a live or deleted secret and before the answer is returned.
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

// freeze stops all notifications, except for keys that begin with except, unless
// that is "".
func (b *stale) freeze(except store.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.frozen, b.thawed = true, except
}

// twoServers returns two open stores on one storage, and the view of it that the
// first one has.
func twoServers(t *testing.T) (first *Store, view *stale, second *Store) {
	t.Helper()
	b := &restarting{Backend: memory.New(), versions: make(map[store.Key][]store.Version)}
	view = &stale{Backend: b, known: make(map[store.Key]store.Node), absent: make(map[store.Key]bool)}
	first, key := unsealedOn(t, view)
	second = open(t, b, false)
	if _, err := second.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	return first, view, second
}

func described(value, description string) Change {
	c := text(value)
	c.Description = &description
	return c
}

// TestUpdateNeverContinuesADeletedSecret deletes a secret and creates another one
// at the same path and version, unnoticed by the server that updates it.
func TestUpdateNeverContinuesADeletedSecret(t *testing.T) {
	for name, row := range map[string]struct {
		remove func(*Store, context.Context) error
		thawed store.Key // changes of this are noticed all the same
	}{
		"delete":                     {func(s *Store, ctx context.Context) error { return s.Delete(ctx, path(t, "f/a"), nil) }, ""},
		"purge":                      {func(s *Store, ctx context.Context) error { return s.Purge(ctx, path(t, "f/a"), nil) }, ""},
		"delete, generation noticed": {func(s *Store, ctx context.Context) error { return s.Delete(ctx, path(t, "f/a"), nil) }, barrier.KeyGenerations},
		"purge, generation noticed":  {func(s *Store, ctx context.Context) error { return s.Purge(ctx, path(t, "f/a"), nil) }, barrier.KeyGenerations},
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
				t.Errorf("%q, described as %q, %v: the update continued the deleted secret", got.Value, got.Description, err)
			}
			if before, err := second.GetVersion(ctx, p, 1, store.Latest); err != nil || string(before.Value) != "new" {
				t.Errorf("the earlier value is %q, %v, want the one that was replaced", before.Value, err)
			}
		})
	}
}

// TestConditionIsCheckedAgainstTheStorage, not against an outdated cache.
func TestConditionIsCheckedAgainstTheStorage(t *testing.T) {
	first, view, second := twoServers(t)
	ctx, p := t.Context(), path(t, "f/a")
	old, err := first.Create(ctx, p, text("old"))
	if err != nil {
		t.Fatal(err)
	}
	view.freeze("")
	newer, err := second.Update(ctx, p, text("new"))
	if err != nil {
		t.Fatal(err)
	}
	c := text("mine")
	c.If = func(current string) bool { return current == old.ID }
	_, err = first.Update(ctx, p, c)
	wantErr(t, "on a replaced value", err, ErrChanged)
	c.If = func(current string) bool { return current == newer.ID }
	if _, err := first.Update(ctx, p, c); err != nil {
		t.Errorf("on the current value, which this server has not noticed: %v", err)
	}
}

// TestWriteFailsIfTheSecretWasRecreatedSinceItsRead recreates a secret, with the
// same version, between the read and the write of each operation.
func TestWriteFailsIfTheSecretWasRecreatedSinceItsRead(t *testing.T) {
	p := path(t, "f/a")
	for name, row := range map[string]struct {
		write   func(ctx context.Context, s *Store, onlyOld Match) error
		deleted bool // the operation writes a deleted secret
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
				written, err := second.Create(ctx, p, text(values[0]))
				for _, value := range values[1:] {
					if err == nil {
						written, err = second.Update(ctx, p, text(value))
					}
				}
				if err == nil && row.deleted {
					err = second.Delete(ctx, p, nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				return written.ID
			}
			// The first server now knows the delete generation.
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
					keepVersions(second, 0) // keep no earlier value
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

// TestUpdateUsesTheCache checks that an update does not read the storage, even if
// another server wrote the value, except once after a delete in the same bucket.
func TestUpdateUsesTheCache(t *testing.T) {
	first, view, second := twoServers(t)
	ctx, p := t.Context(), path(t, "f/a")
	for _, name := range []string{"f/a", "f/b"} {
		if _, err := first.Create(ctx, path(t, name), text("0")); err != nil {
			t.Fatal(err)
		}
	}
	wantReads := func(what string, want int64) {
		t.Helper()
		before := view.latest.Load()
		if _, err := first.Update(ctx, p, text(what)); err != nil {
			t.Fatal(err)
		}
		if got := view.latest.Load() - before; got > want {
			t.Errorf("%s: %d reads of the storage, want at most %d", what, got, want)
		}
	}
	wantReads("the first update", 0)
	wantReads("the second", 0)
	if err := first.Delete(ctx, path(t, "f/b"), nil); err != nil {
		t.Fatal(err)
	}
	wantReads("the first after a delete beside it", 2) // it has to read the storage once
	wantReads("the one after that", 0)
	if _, err := second.Update(ctx, p, text("of another")); err != nil {
		t.Fatal(err)
	}
	wantReads("one of what another server has written", 0)
}

// TestEveryDeleteChangesTheGeneration, which updates rely on.
func TestEveryDeleteChangesTheGeneration(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx, p := t.Context(), path(t, "f/a")
	generations := func() map[store.Key]store.Version {
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
		"another delete": func() error { return s.Delete(ctx, p, nil) }, // over the deleted secret of the first
	} {
		if _, err := s.Create(ctx, p, text("v")); err != nil {
			t.Fatal(err)
		}
		before := generations()
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if maps.Equal(before, generations()) {
			t.Errorf("%s: no delete generation has changed", name)
		}
	}
}

// silent is a backend that can be down, and counts the calls that requests make
// then. Calls of background work do not count.
type silent struct {
	store.Backend
	down  atomic.Bool
	calls atomic.Int64 // those of requests while down
}

// requestKey marks the context of a request.
type requestKey struct{}

func (b *silent) answers(ctx context.Context) bool {
	if !b.down.Load() {
		return true
	}
	if ctx.Value(requestKey{}) != nil {
		b.calls.Add(1)
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

// TestRequestCallsAFailedStorageOnlyOnce: each call may take until its timeout,
// and a 503 is due within a second.
func TestRequestCallsAFailedStorageOnlyOnce(t *testing.T) {
	b := &silent{Backend: &restarting{Backend: memory.New(), versions: make(map[store.Key][]store.Version)}}
	s, _ := unsealedOn(t, b)
	ctx, seen := t.Context(), path(t, "f/seen")
	if _, err := s.Create(ctx, seen, text("v")); err != nil {
		t.Fatal(err)
	}
	b.down.Store(true)
	ctx = context.WithValue(ctx, requestKey{}, true)
	for what, request := range map[string]func() error{
		"a read":               func() error { _, err := s.Get(ctx, seen, store.Cached); return err },
		"a create":             func() error { return errOf(s.Create(ctx, path(t, "f/new"), text("v"))) },
		"an update":            func() error { return errOf(s.Update(ctx, seen, text("w"))) },
		"an update of another": func() error { return errOf(s.Update(ctx, path(t, "f/other"), text("w"))) },
		"a delete":             func() error { return s.Delete(ctx, seen, nil) },
		"a purge":              func() error { return s.Purge(ctx, seen, nil) },
		"an undelete":          func() error { return errOf(s.Undelete(ctx, path(t, "f/deleted"))) },
	} {
		before := b.calls.Load()
		wantErr(t, what, request(), store.ErrUnavailable)
		if n := b.calls.Load() - before; n != 1 {
			t.Errorf("%s made %d calls", what, n)
		}
	}
}

// TestLargeWriteIsNotRefusedByAnOutdatedCache, which may lack the writes of
// another server.
func TestLargeWriteIsNotRefusedByAnOutdatedCache(t *testing.T) {
	first, view, second := twoServers(t)
	ctx, created, deleted := t.Context(), path(t, "f/created"), path(t, "f/deleted")
	large := Change{Kind: Binary, Value: make([]byte, inlineMax+1)}
	if _, err := first.Create(ctx, deleted, text("v")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []acl.Path{created, deleted} {
		if _, err := first.Get(ctx, p, store.Cached); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	view.freeze("")
	if _, err := second.Create(ctx, created, text("v")); err != nil {
		t.Fatal(err)
	}
	if err := second.Delete(ctx, deleted, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Update(ctx, created, large); err != nil {
		t.Errorf("update of a secret that is not cached: %v", err)
	}
	if _, err := first.Create(ctx, deleted, large); err != nil {
		t.Errorf("create of a secret that is still cached: %v", err)
	}
}

// TestRotationNeverRestoresADeletedSecret recreates a live or deleted secret
// between the read and the write of a sweep.
func TestRotationNeverRestoresADeletedSecret(t *testing.T) {
	for name, recreate := range map[string]func(*testing.T, *Store, acl.Path){
		"secret": func(t *testing.T, s *Store, p acl.Path) {
			mustSucceed(t, s.Purge(t.Context(), p, nil))
			_, err := s.Create(t.Context(), p, text("new"))
			mustSucceed(t, err)
		},
		"deleted": func(t *testing.T, s *Store, p acl.Path) {
			_, err := s.Undelete(t.Context(), p)
			mustSucceed(t, err)
			mustSucceed(t, s.Purge(t.Context(), p, nil))
			_, err = s.Create(t.Context(), p, text("new"))
			mustSucceed(t, err)
			mustSucceed(t, s.Delete(t.Context(), p, nil))
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
				mustSucceed(t, first.Delete(ctx, p, nil))
				first.cleanup.Wait()
			}
			// From now on the folder is cached, so that only the record is read.
			if _, err := first.List(ctx, acl.Path{}, Page{}, store.Latest); err != nil {
				t.Fatal(err)
			}
			between := func() { recreate(t, second, p) }
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
				mustSucceed(t, err)
			}
			if got, err := second.Get(ctx, p, store.Latest); err != nil || string(got.Value) != "new" {
				t.Errorf("%q, %v: the rotation restored the deleted secret", got.Value, err)
			}
		})
	}
}

func mustSucceed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
