package seal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
	"secretstore/store/memory"
)

// isRestoreError reports whether err is a *RestoreError.
func isRestoreError(err error) bool {
	var refused *RestoreError
	return errors.As(err, &refused)
}

// restoredTo writes a backup into a new storage, which is then sealed.
func restoredTo(t *testing.T, b *Backup, o RestoreOptions) *memory.Backend {
	t.Helper()
	to := memory.New()
	t.Cleanup(func() { to.Close() })
	mustSucceed(t, b.Restore(t.Context(), to, o))
	return to
}

// marks are what differs between the incarnations of a store.
type marks struct {
	incarnation, session, task, id, earlier string
}

// marksOf returns those of an unsealed store that has the secret a in two versions.
func marksOf(t *testing.T, s *Store) (m marks) {
	t.Helper()
	var err error
	if m.incarnation, err = s.Incarnation(); err != nil {
		t.Fatal(err)
	}
	session, _, err := s.SessionKey(0)
	if err != nil {
		t.Fatal(err)
	}
	term, err := s.TaskTerm()
	if err != nil {
		t.Fatal(err)
	}
	task, err := s.TaskMAC(term, []byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Versions(t.Context(), path(t, "a"), store.Latest)
	if err != nil || len(v.Versions) != 2 {
		t.Fatal(v, err)
	}
	m.session, m.task, m.id, m.earlier = string(session[:]), string(task), v.Versions[0].ID, v.Versions[1].ID
	return m
}

// differs checks that nothing of one incarnation is good in another.
func (m marks) differs(t *testing.T, what string, other marks) {
	t.Helper()
	if m.incarnation == other.incarnation || m.session == other.session || m.task == other.task || m.id == other.id || m.earlier == other.earlier {
		t.Errorf("%s: something is as it was in the incarnation before", what)
	}
}

// withTwoVersions returns an unsealed store with the secret a, and its unseal key.
func withTwoVersions(t *testing.T) (*Store, *memory.Backend, string) {
	t.Helper()
	s, b, share := unsealed(t)
	keepVersions(s, 3)
	mustSucceed(t, errOf(s.Create(t.Context(), path(t, "a"), text("1"))))
	mustSucceed(t, errOf(s.Update(t.Context(), path(t, "a"), text("2"))))
	return s, b, share
}

// TestARestoreIsANewIncarnation: what clients have from before is good on no server,
// and all servers agree. A restart, a rotation and a new root key change nothing.
func TestARestoreIsANewIncarnation(t *testing.T) {
	s, _, share := withTwoVersions(t)
	before := marksOf(t, s)
	if before.incarnation != "" || !s.Status().Restored.IsZero() {
		t.Errorf("%q, %v, without a restore", before.incarnation, s.Status().Restored)
	}
	b := backupOf(t, s, BackupOptions{})
	to := restoredTo(t, b, RestoreOptions{})
	var servers sync.WaitGroup
	var all [3]*Store
	for i := range all {
		all[i] = open(t, to.Attach(), false)
	}
	for _, r := range all {
		servers.Go(func() {
			if _, err := r.Unseal(t.Context(), []byte(share)); err != nil {
				t.Error(err)
			}
		})
	}
	servers.Wait()
	if _, err := to.Get(t.Context(), barrier.KeyRestored, store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the record of the restore: %v", err)
	}
	after := marksOf(t, all[0])
	after.differs(t, "after the restore", before)
	for _, r := range all {
		if now := marksOf(t, r); now != after {
			t.Error("two servers have different incarnations")
		}
		if got := r.Status().Restored; !got.Equal(b.Made) {
			t.Errorf("restored from a backup of %v, not %v", got, b.Made)
		}
	}
	c := text("3")
	c.If = func(id string) bool { return id == before.id }
	wantErr(t, "update with an id of before", errOf(all[0].Update(t.Context(), path(t, "a"), c)), ErrChanged)
	wantErr(t, "delete with an id of before", all[1].Delete(t.Context(), path(t, "a"), c.If), ErrChanged)

	mustSucceed(t, errOf(all[0].Rotate(t.Context())))
	settleRotation(t, all[0])
	again := restored(t, backupOf(t, all[0], BackupOptions{}), share)
	marksOf(t, again).differs(t, "after another restore", after)
	key, _, err := rotateRoot(t, all[0], true)
	mustSucceed(t, err)
	settleRotation(t, all[0])
	late := open(t, to.Attach(), false)
	mustSucceed(t, errOf(late.Unseal(t.Context(), []byte(key))))
	if now := marksOf(t, late); now.incarnation != after.incarnation || now.id != after.id {
		t.Error("new keys have changed the incarnation")
	}
	if late.Status().Restored.IsZero() {
		t.Error("new keys have made the store forget that it was restored")
	}
}

// TestFirstUnsealOfARestoreIsOneWrite fails each write of it, before and after it had
// its effect: either nothing has happened, or all of it.
func TestFirstUnsealOfARestoreIsOneWrite(t *testing.T) {
	s, _, share := withTwoVersions(t)
	b := backupOf(t, s, BackupOptions{})
	for _, persisted := range []bool{false, true} {
		to := restoredTo(t, b, RestoreOptions{})
		f := &faulty{Backend: to}
		r := open(t, f, false)
		writes := 0
		decide := func(ops []store.Op) (bool, error) {
			if writes++; writes > 1 {
				return true, nil
			}
			return persisted, store.ErrOutcomeUnknown
		}
		f.apply.Store(&decide)
		_, err := r.Unseal(t.Context(), []byte(share))
		wantErr(t, "unseal whose write fails", err, store.ErrOutcomeUnknown)
		if r.Status().State != StateSealed {
			t.Errorf("persisted %v: %v", persisted, r.Status().State)
		}
		_, err = to.Get(t.Context(), barrier.KeyRestored, store.Latest)
		if errors.Is(err, store.ErrNotFound) != persisted {
			t.Errorf("persisted %v: the record of the restore: %v", persisted, err)
		}
		other := open(t, to.Attach(), false)
		mustSucceed(t, errOf(other.Unseal(t.Context(), []byte(share))))
		mustSucceed(t, errOf(r.Unseal(t.Context(), []byte(share))))
		if writes := marksOf(t, r); writes != marksOf(t, other) || writes.incarnation == "" {
			t.Errorf("persisted %v: two servers have different incarnations", persisted)
		}
	}
}

// TestStoreOfABadRestoreStaysSealed: somebody has made the file, or has removed or
// changed the record of the restore.
func TestStoreOfABadRestoreStaysSealed(t *testing.T) {
	s, _, share := withTwoVersions(t)
	var file bytes.Buffer
	mustSucceed(t, errOf(s.Backup(t.Context(), &file, BackupOptions{})))
	data := file.Bytes()
	data[len(data)-1] ^= 1 // of the MAC, which only the root key can check
	forged, err := OpenBackup(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	b := backupOf(t, s, BackupOptions{})
	remove := func(to *memory.Backend) {
		node, err := to.Get(t.Context(), barrier.KeyRestored, store.Latest)
		mustSucceed(t, err)
		mustSucceed(t, errOf(to.Apply(t.Context(), store.Delete(barrier.KeyRestored, node.Version))))
	}
	for name, attack := range map[string]func(*memory.Backend){
		"removed": remove,
		"junk":    func(to *memory.Backend) { put(t, to, barrier.KeyRestored, []byte("{")) },
		"forged": func(to *memory.Backend) {
			put(t, to, barrier.KeyRestored, record(t, restoredTo(t, forged, RestoreOptions{}), barrier.KeyRestored))
		},
		// An intent from before does not hide a restore.
		"removed, with an intent of before": func(to *memory.Backend) {
			put(t, to, barrier.KeyIntent, record(t, s.backend, barrier.KeyIntent))
			remove(to)
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := restoredTo(t, b, RestoreOptions{})
			attack(to)
			r := open(t, to, false)
			_, err := r.Unseal(t.Context(), []byte(share))
			if !isRestoreError(err) || r.Status().State != StateSealed {
				t.Fatalf("%v, %v", err, r.Status().State)
			}
			for _, want := range []string{barrier.KeyRestored, "backup drill"} {
				if !strings.Contains(r.Status().RestoreProblem, want) {
					t.Errorf("status does not name %s: %s", want, r.Status().RestoreProblem)
				}
			}
		})
	}
}

// TestKeyringOfABackupIsNeverInForce: a writer of the storage puts records of backups
// and of earlier times into a store. No server serves under them, and what was good
// before a restore is not good again.
func TestKeyringOfABackupIsNeverInForce(t *testing.T) {
	s, from, share := withTwoVersions(t)
	before := marksOf(t, s)
	b := backupOf(t, s, BackupOptions{})
	live := record(t, from, barrier.KeyKeyring)
	inBackup := make(map[store.Key][]byte)
	mustSucceed(t, b.Each(func(key store.Key, data []byte) error { inBackup[key] = bytes.Clone(data); return nil }))
	mark := record(t, restoredTo(t, b, RestoreOptions{}), barrier.KeyRestored)

	// The store that the backup was made of.
	put(t, from, barrier.KeyRestored, mark)
	mustSucceed(t, errOf(s.Update(t.Context(), path(t, "a"), text("2"))))
	restarted := open(t, from.Attach(), false)
	mustSucceed(t, errOf(restarted.Unseal(t.Context(), []byte(share))))
	if now, err := restarted.Incarnation(); now == "" || err != nil {
		t.Errorf("%q, %v: the record of a restore does not begin an incarnation", now, err)
	}
	await(t, s, func(st State) bool { return st == StateSealed }) // its tokens are not those of the others

	// A restored store: its servers do not take what is older.
	to := restoredTo(t, b, RestoreOptions{})
	r := open(t, to, false)
	mustSucceed(t, errOf(r.Unseal(t.Context(), []byte(share))))
	after := marksOf(t, r)
	after.differs(t, "after the restore", before)
	good := record(t, to, barrier.KeyKeyring)
	for name, old := range map[string][]byte{"the backup": inBackup[barrier.KeyKeyring], "before": live} {
		put(t, to, barrier.KeyKeyring, old)
		await(t, r, func(st State) bool { return st == StateSealed })
		put(t, to, barrier.KeyKeyring, good)
		mustSucceed(t, errOf(r.Unseal(t.Context(), []byte(share))))
		if now := marksOf(t, r); now != after {
			t.Errorf("the keyring of %s has changed the incarnation", name)
		}
	}
	// Nor does a server that starts take the keyring of the backup.
	put(t, to, barrier.KeyKeyring, inBackup[barrier.KeyKeyring])
	late := open(t, to.Attach(), false)
	if _, err := late.Unseal(t.Context(), []byte(share)); !isRestoreError(err) {
		t.Errorf("unsealed with the keyring of a backup: %v", err)
	}
	put(t, to, barrier.KeyRestored, mark)
	mustSucceed(t, errOf(late.Unseal(t.Context(), []byte(share))))
	now, err := late.Incarnation()
	if err != nil || now == after.incarnation || now == "" {
		t.Errorf("%q, %v: a replayed restore does not begin another incarnation", now, err)
	}
}

// TestBackupsHaveNoRecordsOfLastUse: the rest of the identities is as it was, and
// nothing of it is damaged.
func TestBackupsHaveNoRecordsOfLastUse(t *testing.T) {
	s, _, share := unsealed(t)
	d := following(t, s)
	d.change(t, s, "user/alice=1", "used/aa=2", "used/ab=3", "user/bob=4", "key/x=5")
	d.change(t, s, "used/aa=6", "user/bob")
	b := backupOf(t, s, BackupOptions{})
	to := restoredTo(t, b, RestoreOptions{})
	r := open(t, to, false)
	mustSucceed(t, errOf(r.Unseal(t.Context(), []byte(share))))
	after := following(t, r)
	after.wants(t, map[string]string{"user/alice": "1", "key/x": "5"}, 0)
	for _, key := range []store.Key{iamKey(t, s, "used/aa"), iamKey(t, s, "used/ab")} {
		if _, err := to.Get(t.Context(), key, store.Latest); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", key, err)
		}
	}
	after.change(t, r, "used/aa=7", "user/carol=8")
	after.wants(t, map[string]string{"user/alice": "1", "key/x": "5", "used/aa": "7", "user/carol": "8"}, 0)

	without := open(t, restoredTo(t, b, RestoreOptions{WithoutIAM: true}), false)
	mustSucceed(t, errOf(without.Unseal(t.Context(), []byte(share))))
	following(t, without).wants(t, map[string]string{}, 0)
}

// TestBackupsKeepDamagedIdentities: what is damaged stays so, and no more.
func TestBackupsKeepDamagedIdentities(t *testing.T) {
	s, from, share := unsealed(t)
	d := following(t, s)
	d.change(t, s, "user/alice=1", "used/aa=2", "user/bob=4")
	put(t, from, iamKey(t, s, "user/bob"), []byte("junk"))
	r := restored(t, backupOf(t, s, BackupOptions{}), share)
	following(t, r).wants(t, map[string]string{"user/alice": "1"}, 1)
}

// TestARestoreIsContinuedWithTheSameOptions: a store without half of its identities
// is never made.
func TestARestoreIsContinuedWithTheSameOptions(t *testing.T) {
	s, _, _ := unsealed(t)
	b := backupOf(t, s, BackupOptions{})
	to := memory.New()
	wantErr(t, "interrupted", b.Restore(t.Context(), &interrupted{to, 2}, RestoreOptions{WithoutIAM: true}), errInterrupted)
	wantErr(t, "with other options", b.Restore(t.Context(), to, RestoreOptions{}), ErrNotEmpty)
	mustSucceed(t, b.Restore(t.Context(), to, RestoreOptions{WithoutIAM: true}))
}

// TestTheBootstrapKeyIsRestoredToItsFile: not over another key, which must not be
// lost, and not twice.
func TestTheBootstrapKeyIsRestoredToItsFile(t *testing.T) {
	s := bootstrapped(t, memory.New())
	b := backupOf(t, s, BackupOptions{BootstrapKey: true})
	file := filepath.Join(t.TempDir(), "s.db.bootstrap.key")
	mustSucceed(t, os.WriteFile(file, []byte("another"), 0o600))
	to := memory.New()
	if err := b.Restore(t.Context(), to, RestoreOptions{BootstrapKeyFile: file}); err == nil {
		t.Error("another key was replaced")
	}
	mustSucceed(t, os.Remove(file))
	for range 2 {
		to = memory.New()
		mustSucceed(t, b.Restore(t.Context(), to, RestoreOptions{BootstrapKeyFile: file}))
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := to.Get(t.Context(), barrier.KeyBootstrap, store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the storage has the key too: %v", err)
	}
	r, err := Open(t.Context(), Options{Backend: to, Bootstrap: true, BootstrapKeyFile: file, Mode: ModeDisabled, Log: s.log})
	mustSucceed(t, err)
	defer r.Close()
	mustSucceed(t, errOf(r.AutoUnseal(context.WithoutCancel(t.Context()), "")))
}
