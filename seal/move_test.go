package seal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// stop ends a server, so that its storage is not in use.
func stop(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAMovedStoreHasEverythingAndIsSealed(t *testing.T) {
	s, from, share := unsealed(t)
	keepVersions(s, 5)
	ctx := t.Context()
	if _, err := s.Create(ctx, path(t, "f/a"), text("1")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(ctx, path(t, "f/a"), text("2")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, path(t, "gone"), text("g")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, path(t, "gone"), nil); err != nil {
		t.Fatal(err)
	}
	uuid := s.Status().UUID
	stop(t, s)
	to := memory.New()
	defer to.Close()
	records := 0
	if err := (&Move{From: from, To: to, Progress: func(n int) { records = n }}).Run(ctx); err != nil || records == 0 {
		t.Fatalf("%d, %v", records, err)
	}
	r := open(t, to, false)
	if got := r.Status(); got.State != StateSealed || got.UUID != uuid {
		t.Fatalf("%+v", got)
	}
	if _, err := r.Unseal(ctx, []byte(share)); err != nil {
		t.Fatal(err)
	}
	if got, err := r.GetVersion(ctx, path(t, "f/a"), 1, store.Latest); err != nil || string(got.Value) != "1" {
		t.Errorf("%q, %v", got.Value, err)
	}
	if _, err := r.Undelete(ctx, path(t, "gone")); err != nil {
		t.Error(err)
	}
	stop(t, r)
	// The source is as it was, and nothing is moved into a store.
	wantErr(t, "another move", (&Move{From: from, To: to}).Run(ctx), ErrNotEmpty)
	s = open(t, from, false)
	if _, err := s.Unseal(ctx, []byte(share)); err != nil && s.Status().State != StateUnsealed {
		t.Fatal(err)
	}
	if got, err := s.Get(ctx, path(t, "f/a"), store.Latest); err != nil || string(got.Value) != "2" {
		t.Errorf("%q, %v", got.Value, err)
	}
	wantErr(t, "a move of nothing", (&Move{From: memory.New(), To: memory.New()}).Run(ctx), ErrNoStore)
}

func TestTheBootstrapKeyMovesAlong(t *testing.T) {
	from, to, back := memory.New(), memory.New(), memory.New()
	defer from.Close()
	defer to.Close()
	defer back.Close()
	stop(t, bootstrapped(t, from))
	file := filepath.Join(t.TempDir(), "key")
	if err := (&Move{From: from, To: to, ToKeyFile: file}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if _, err := to.Get(t.Context(), "keys/bootstrap_user.key", store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the key is in the storage, too: %v", err)
	}
	// The file that an earlier move has left does no harm; that of another store stays.
	if err := (&Move{From: from, To: memory.New(), ToKeyFile: file}).Run(t.Context()); err != nil {
		t.Error(err)
	}
	armored, err := sealtest.Key(sealtest.Other).Armor()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(other, armored, 0o600); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "a move beside the key of another store", (&Move{From: from, To: memory.New(), ToKeyFile: other}).Run(t.Context()), ErrNotEmpty)
	if err := (&Move{From: to, To: back, FromKeyFile: file}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := open(t, back, true)
	if _, err := r.AutoUnseal(t.Context(), ""); err != nil || r.Status().State != StateUnsealed {
		t.Errorf("%+v, %v", r.Status(), err)
	}
}

// written is a storage in which a server writes while it is read.
type written struct{ *memory.Backend }

func (w written) Snapshot(ctx context.Context, s store.Snapshot, emit func(store.Key, []byte) error) error {
	return w.Backend.Snapshot(ctx, s, func(key store.Key, data []byte) error {
		s.Again(1)
		return emit(key, data)
	})
}

// announced is a storage that a server uses.
type announced struct{ *memory.Backend }

func (announced) Announce(context.Context, string, <-chan []byte) error { return nil }
func (announced) Announcements(context.Context) ([]store.Announcement, error) {
	return []store.Announcement{{ID: "x"}}, nil
}

// TestAStorageInUseIsNotMoved, and a move that was interrupted is not served.
func TestAStorageInUseIsNotMoved(t *testing.T) {
	s, from, _ := unsealed(t)
	wantErr(t, "from one with a server", (&Move{From: from, To: memory.New()}).Run(t.Context()), ErrInUse)
	stop(t, s)
	to := memory.New()
	defer to.Close()
	wantErr(t, "from a storage in use", (&Move{From: announced{from}, To: to}).Run(t.Context()), ErrInUse)
	wantErr(t, "into a storage in use", (&Move{From: from, To: announced{to}}).Run(t.Context()), ErrInUse)
	wantErr(t, "from one that is written", (&Move{From: written{from}, To: to}).Run(t.Context()), ErrInUse)
	r := open(t, to, true)
	if got := r.Status().State; got == StateUnsealed || got == StateSealed {
		t.Errorf("a move that was interrupted is %v", got)
	}
	stop(t, r)
	wantErr(t, "a second move", (&Move{From: from, To: to}).Run(t.Context()), ErrNotEmpty)
}
