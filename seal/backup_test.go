package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/sealtest"
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

// afterSnapshot is a storage in which something happens after each snapshot.
type afterSnapshot struct {
	*keyReads
	then func()
}

func (b *afterSnapshot) Snapshot(ctx context.Context, s store.Snapshot, emit func(store.Key, []byte) error) error {
	err := b.Backend.Snapshot(ctx, s, emit)
	b.then()
	return err
}

// TestTheBootstrapKeyInABackupOpensIt: the key is read after the rest, and may be
// another one by then, or none.
func TestTheBootstrapKeyInABackupOpensIt(t *testing.T) {
	other, err := bootstrapkey.Encode(sealtest.Key(sealtest.Other))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		rekey, other bool // after the snapshot: the holders change; another key is there
		want         error
	}{
		"a rekey has removed it":  {true, false, ErrKeysChanged},
		"a rekey has replaced it": {true, true, ErrKeysChanged},
		"it opens another store":  {false, true, nil},
	} {
		var replaced atomic.Bool
		b := &afterSnapshot{keyReads: &keyReads{Backend: memory.New(), read: func(get func() (store.Node, error)) (store.Node, error) {
			if replaced.Load() {
				return store.Node{Data: other}, nil
			}
			return get()
		}}}
		s := bootstrapped(t, b)
		b.then = func() {
			if c.rekey {
				info, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1)})
				if err == nil {
					_, err = s.VerifyRekey(t.Context(), info.Nonce, []byte(sharesOf(t, info.Keys)[0]))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			replaced.Store(c.other)
		}
		m, err := s.Backup(t.Context(), io.Discard, BackupOptions{BootstrapKey: true})
		if !errors.Is(err, c.want) || m.BootstrapKey {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
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
			wantErr(t, "restore of another", other.Restore(t.Context(), to, RestoreOptions{}), ErrUnfinished)
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

// overloaded is a storage that does what it is asked only every fourth time: before,
// it does not say that it has done it, or has not done it, or is out of reach.
type overloaded struct {
	*memory.Backend
	n int
}

func (b *overloaded) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	switch b.n++; b.n % 4 {
	case 1:
		if _, err := b.Backend.Apply(ctx, ops...); err != nil {
			return nil, err
		}
		return nil, store.ErrOutcomeUnknown
	case 2:
		return nil, store.ErrOutcomeUnknown
	case 3:
		return nil, store.ErrUnavailable
	}
	return b.Backend.Apply(ctx, ops...)
}

// TestARestoreOutlastsAnOverloadedStorage, and so does a move: what may have been
// written is looked for and repeated.
func TestARestoreOutlastsAnOverloadedStorage(t *testing.T) {
	s, from, share := unsealed(t)
	for n := range 450 {
		if _, err := s.Create(t.Context(), path(t, fmt.Sprintf("f%d/s%d", n%3, n)), text(strings.Repeat("v", n))); err != nil {
			t.Fatal(err)
		}
	}
	b := backupOf(t, s, BackupOptions{})
	stop(t, s)
	for n := range 4 {
		for name, write := range map[string]func(ctx context.Context, to store.Backend, waiting func(error)) error{
			"restore": func(ctx context.Context, to store.Backend, waiting func(error)) error {
				return b.Restore(ctx, to, RestoreOptions{Waiting: waiting})
			},
			"move": func(ctx context.Context, to store.Backend, waiting func(error)) error {
				return (&Move{From: from, To: to, Waiting: waiting}).Run(ctx)
			},
		} {
			to := memory.New()
			synctest.Test(t, func(t *testing.T) {
				waited := 0
				err := write(t.Context(), &overloaded{to, n}, func(error) { waited++ })
				if err != nil || waited == 0 {
					t.Fatalf("%s, from call %d on: %v, waited %d times", name, n, err, waited)
				}
			})
			r := open(t, to, false)
			if _, err := r.Unseal(t.Context(), []byte(share)); err != nil {
				t.Fatal(err)
			}
			if list, err := r.List(t.Context(), acl.Path{}, Page{}, store.Latest); err != nil || len(list.Names) != 450 || r.Status().RestoreWarning != "" {
				t.Errorf("%s, from call %d on: %d names, %v, %s", name, n, len(list.Names), err, r.Status().RestoreWarning)
			}
		}
	}
}

// away is a storage that does not take writes after the first ones.
type away struct {
	*memory.Backend
	left int
	err  error
}

func (b *away) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if b.left--; b.left < 0 {
		return nil, b.err
	}
	return b.Backend.Apply(ctx, ops...)
}

// TestARestoreGivesUpAfterSomeMinutes, at once if waiting does not help, and servers
// say what to do with what it leaves.
func TestARestoreGivesUpAfterSomeMinutes(t *testing.T) {
	s, _, _ := unsealed(t)
	b := backupOf(t, s, BackupOptions{})
	for _, c := range []struct {
		err         error
		least, most time.Duration
	}{
		{store.ErrOutcomeUnknown, 4 * time.Minute, 6 * time.Minute},
		{store.ErrUnavailable, 4 * time.Minute, 6 * time.Minute},
		{store.ErrFull, 0, 0},
	} {
		to := memory.New()
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			err := b.Restore(t.Context(), &away{to, 1, c.err}, RestoreOptions{})
			if took := time.Since(began); !errors.Is(err, c.err) || took < c.least || took > c.most {
				t.Errorf("%v: %v after %v", c.err, err, took)
			}
			stopped, cancel := context.WithCancel(t.Context())
			err = b.Restore(stopped, &away{to, 0, c.err}, RestoreOptions{Waiting: func(error) { cancel() }})
			if took := time.Since(began); !errors.Is(err, c.err) || took > c.most {
				t.Errorf("%v: %v when it is stopped after %v", c.err, err, took)
			}
			cancel()
		})
		half, err := Open(t.Context(), Options{Backend: to, Mode: ModeDisabled, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		if st := half.Status(); st.State != StateDamaged || !strings.Contains(st.Detail, "is not finished: wait for it, or run the same command again") {
			t.Errorf("%+v", st)
		}
		stop(t, half)
		if err := b.Restore(t.Context(), to, RestoreOptions{}); err != nil {
			t.Error(err)
		}
		if abandoned, err := AbandonRestore(t.Context(), to); err != nil || abandoned {
			t.Errorf("a whole one is unfinished: %v, %v", abandoned, err)
		}
	}
}

// TestAnAbandonedRestoreStops with its next write, also if the next one has begun: no
// store is made of both.
func TestAnAbandonedRestoreStops(t *testing.T) {
	s, _, _ := unsealed(t)
	if _, err := s.Create(t.Context(), path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	b := backupOf(t, s, BackupOptions{})
	const marker = "stores/default/restoring"
	for name, then := range map[string]func(to store.Backend){
		"abandoned": func(store.Backend) {},
		"another one has begun": func(to store.Backend) {
			node, err := to.Get(t.Context(), marker, store.Latest)
			if err == nil {
				_, err = to.Apply(t.Context(), store.Set(marker, []byte("another"), node.Version))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		to := memory.New()
		err := b.Restore(t.Context(), to, RestoreOptions{Progress: func(int) {
			if abandoned, err := AbandonRestore(t.Context(), to); err != nil || !abandoned {
				t.Errorf("%s: %v, %v", name, abandoned, err)
			}
			then(to)
		}})
		if err == nil || !strings.Contains(err.Error(), "started over") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := to.Get(t.Context(), "stores/default/config", store.Latest); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: there is a store: %v", name, err)
		}
	}
}

// TestNoBackupIsMadeDuringAHandover: the storage has the next root key then, which
// opens with another key than the rest.
func TestNoBackupIsMadeDuringAHandover(t *testing.T) {
	s, b, _ := unsealed(t)
	versions, err := b.Apply(t.Context(), store.Create(barrier.KeyHandover, []byte("the next root key")))
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := s.Backup(t.Context(), &file, BackupOptions{}); !errors.Is(err, ErrKeysChanged) {
		t.Errorf("%v, not %v", err, ErrKeysChanged)
	}
	if _, err := OpenBackup(bytes.NewReader(file.Bytes()), int64(file.Len())); !errors.Is(err, ErrBadBackup) {
		t.Errorf("what was written is a backup: %v", err)
	}
	if _, err := b.Apply(t.Context(), store.Delete(barrier.KeyHandover, versions[0])); err != nil {
		t.Fatal(err)
	}
	backupOf(t, s, BackupOptions{})
}
