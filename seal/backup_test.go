package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/store"
	"secretstore/store/memory"
	"secretstore/store/storetest"
)

// backupOf makes a backup and reads it again.
func backupOf(t *testing.T, s *Store, o BackupOptions) *Backup {
	t.Helper()
	var file bytes.Buffer
	m, err := s.Backup(t.Context(), &file, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenBackup(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil || b.Manifest != m {
		t.Fatalf("%+v, not %+v, %v", b, m, err)
	}
	return b
}

// restored returns the store of a backup, unsealed.
func restored(t *testing.T, b *Backup, share string) *Store {
	t.Helper()
	to := memory.New()
	t.Cleanup(func() { to.Close() })
	if err := b.Restore(t.Context(), to, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	s := open(t, to, false)
	if got := s.Status().State; got != StateSealed {
		t.Fatalf("restored as %v", got)
	}
	if _, err := s.Unseal(t.Context(), []byte(share)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestARestoredStoreHasEverything(t *testing.T) {
	s, _, share := unsealed(t)
	keepVersions(s, 5)
	large := bytes.Repeat([]byte("large "), 100_000)
	for name, value := range map[string]string{"a": "1", "f/b": "2", "f/large": string(large), "f/gone": "3"} {
		if _, err := s.Create(t.Context(), path(t, name), text(value)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Update(t.Context(), path(t, "a"), text("1b")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), path(t, "f/gone"), nil); err != nil {
		t.Fatal(err)
	}
	b := backupOf(t, s, BackupOptions{Release: "v1", Storage: "memory"})
	if b.Store != s.Status().UUID || b.Contents.Secrets != 3 || b.Contents.Deleted != 1 || b.Contents.Pieces == 0 || b.BootstrapKey {
		t.Errorf("%+v", b.Manifest)
	}
	r := restored(t, b, share)
	for name, want := range map[string]string{"a": "1b", "f/b": "2", "f/large": string(large)} {
		if got, err := r.Get(t.Context(), path(t, name), store.Latest); err != nil || string(got.Value) != want {
			t.Errorf("%s: %.20q, %v", name, got.Value, err)
		}
	}
	if _, err := r.Undelete(t.Context(), path(t, "f/gone")); err != nil {
		t.Error(err)
	}
	if got, err := r.Get(t.Context(), path(t, "f/gone"), store.Latest); err != nil || string(got.Value) != "3" {
		t.Errorf("%q, %v", got.Value, err)
	}
	if got, err := r.Update(t.Context(), path(t, "a"), text("1c")); err != nil || got.Version != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestABackupIsOneState makes backups while secrets are written. The n-th write
// creates, replaces or deletes a secret according to n, so a log decides which
// state a backup has.
func TestABackupIsOneState(t *testing.T) {
	s, _, share := unsealed(t)
	const names = 10
	var mu sync.Mutex
	states := []map[string]string{{}}
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			name, value := "s/"+strconv.Itoa(n%names), strconv.Itoa(n)
			state := maps.Clone(states[len(states)-1])
			var err error
			switch _, exists := state[name]; {
			case exists && n/names%2 == 0:
				delete(state, name)
				err = s.Delete(t.Context(), path(t, name), nil)
			case exists:
				state[name] = value
				_, err = s.Update(t.Context(), path(t, name), text(value))
			default:
				state[name] = value
				_, err = s.Create(t.Context(), path(t, name), text(value))
			}
			if err != nil {
				t.Errorf("write %d: %v", n, err)
				return
			}
			mu.Lock()
			states = append(states, state)
			mu.Unlock()
		}
	})
	for range 10 {
		mu.Lock()
		before := len(states) - 1
		mu.Unlock()
		r := restored(t, backupOf(t, s, BackupOptions{}), share)
		list, err := r.List(t.Context(), acl.Path{}, Page{}, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, name := range list.Names {
			secret, err := r.Get(t.Context(), path(t, name), store.Latest)
			if err != nil {
				t.Error(err)
			}
			got[name] = string(secret.Value)
		}
		mu.Lock()
		if !slices.ContainsFunc(states[before:], func(state map[string]string) bool { return maps.Equal(state, got) }) {
			// The last write may be done, but not be in the log yet.
			t.Logf("not among %d states: %v", len(states)-before, got)
			last := states[len(states)-1]
			different := 0
			for n := range names {
				if name := "s/" + strconv.Itoa(n); last[name] != got[name] {
					different++
				}
			}
			if different > 1 {
				t.Error("the backup is not one state")
			}
		}
		mu.Unlock()
	}
	stop()
	writer.Wait()
}

func TestOnlyAnUnsealedStoreIsBackedUp(t *testing.T) {
	s, _, _ := unsealed(t)
	if _, err := s.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	_, err := s.Backup(t.Context(), &file, BackupOptions{})
	wantErr(t, "backup of a sealed store", err, ErrSealed)
	if _, err := OpenBackup(bytes.NewReader(file.Bytes()), int64(file.Len())); !errors.Is(err, ErrBadBackup) {
		t.Error(err)
	}
}

func TestTheBootstrapKeyIsOnlyInABackupIfAskedFor(t *testing.T) {
	s := bootstrapped(t, memory.New())
	if b := backupOf(t, s, BackupOptions{}); b.BootstrapKey {
		t.Errorf("%+v", b.Manifest)
	}
	b := backupOf(t, s, BackupOptions{BootstrapKey: true})
	if !b.BootstrapKey {
		t.Errorf("%+v", b.Manifest)
	}
	to := memory.New()
	if err := b.Restore(t.Context(), to, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	r := open(t, to, true)
	if _, err := r.AutoUnseal(t.Context(), ""); err != nil || r.Status().State != StateUnsealed {
		t.Errorf("%+v, %v", r.Status(), err)
	}
}

// interrupted fails the n-th Apply.
type interrupted struct {
	*memory.Backend
	left int
}

var errInterrupted = errors.New("interrupted")

func (b *interrupted) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if b.left--; b.left == 0 {
		return nil, errInterrupted
	}
	return b.Backend.Apply(ctx, ops...)
}

// TestAnInterruptedRestoreIsContinued interrupts it at each transaction: no server
// takes what is there for a store, or for empty, and another restore ends it.
func TestAnInterruptedRestoreIsContinued(t *testing.T) {
	s, _, share := unsealed(t)
	for n := range 450 {
		if _, err := s.Create(t.Context(), path(t, fmt.Sprintf("f%d/s%d", n%3, n)), text(strings.Repeat("v", n))); err != nil {
			t.Fatal(err)
		}
	}
	b, other := backupOf(t, s, BackupOptions{}), backupOf(t, s, BackupOptions{Release: "other"})
	for at := 1; ; at++ {
		to := memory.New()
		err := b.Restore(t.Context(), &interrupted{to, at}, RestoreOptions{})
		if err == nil {
			if at < 4 {
				t.Errorf("it took %d transactions", at-1)
			}
			break
		}
		wantErr(t, "interrupted", err, errInterrupted)
		if at > 1 {
			half, err := Open(t.Context(), Options{Backend: storetest.CheckUnchanged(t, to), Bootstrap: true, Mode: ModeDisabled, Log: zap.NewNop()})
			if err != nil || half.Status().State != StateDamaged {
				t.Errorf("transaction %d: %v, %v", at, half.Status().State, err)
			}
			half.Close()
			wantErr(t, "restore of another", other.Restore(t.Context(), to, RestoreOptions{}), ErrNotEmpty)
		}
		if err := b.Restore(t.Context(), to, RestoreOptions{}); err != nil {
			t.Fatalf("after transaction %d: %v", at, err)
		}
		wantErr(t, "restore into a store", b.Restore(t.Context(), to, RestoreOptions{}), ErrNotEmpty)
		r := open(t, to, false)
		if _, err := r.Unseal(t.Context(), []byte(share)); err != nil {
			t.Fatal(err)
		}
		if list, err := r.List(t.Context(), acl.Path{}, Page{}, store.Latest); err != nil || len(list.Names) != 450 {
			t.Errorf("%d names, %v", len(list.Names), err)
		}
	}
}
