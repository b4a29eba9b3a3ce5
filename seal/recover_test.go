package seal

import (
	"bytes"
	"testing"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// offline opens the store of a storage with an unseal key.
func offline(t *testing.T, b store.Backend, share string) *Store {
	t.Helper()
	s, err := Recover(t.Context(), b, []string{share})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestARecoveredStoreIsBackedUp: a sealed one, and one that was left in the middle of
// a handover.
func TestARecoveredStoreIsBackedUp(t *testing.T) {
	s, b, share := withTwoVersions(t)
	mustSucceed(t, errOf(s.Seal(t.Context(), "root")))
	put(t, b, barrier.KeyHandover, []byte("left"))
	r := restored(t, backupOf(t, offline(t, b, share), BackupOptions{}), share)
	if got, err := r.Get(t.Context(), path(t, "a"), store.Latest); err != nil || string(got.Value) != "2" {
		t.Errorf("%q, %v", got.Value, err)
	}
}

// TestABackupForOthersOpensOnlyWithTheirShares, with as many as they said, and has
// all that the store has.
func TestABackupForOthersOpensOnlyWithTheirShares(t *testing.T) {
	s, b, share := withTwoVersions(t)
	mustSucceed(t, errOf(s.Create(t.Context(), path(t, "gone"), text("3"))))
	mustSucceed(t, s.Delete(t.Context(), path(t, "gone"), nil))
	from := offline(t, b, share)
	var file bytes.Buffer
	m, info, err := from.BackupFor(t.Context(), &file, BackupOptions{}, sameHolder(t, 3, 2))
	mustSucceed(t, err)
	backup, err := OpenBackup(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil || backup.Manifest != m || !from.Made(backup) {
		t.Fatalf("%+v, %v", backup, err)
	}
	r := open(t, restoredTo(t, backup, RestoreOptions{}), false)
	wantErr(t, "unseal with the old key", errOf(r.Unseal(t.Context(), []byte(share))), ErrBadKey) // which is not a share
	for i, share := range sharesOf(t, info.Keys)[1:] {
		st, err := r.Unseal(t.Context(), []byte(share))
		if err != nil || (st.State == StateUnsealed) != (i == 1) {
			t.Fatalf("share %d of 2: %v, %v", i+1, st.State, err)
		}
	}
	v, err := r.Versions(t.Context(), path(t, "a"), store.Latest)
	if err != nil || len(v.Versions) != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	mustSucceed(t, errOf(r.Undelete(t.Context(), path(t, "gone"))))
	wantErr(t, "a backup without holders", errOfThree(from.BackupFor(t.Context(), &file, BackupOptions{}, InitParams{})), ErrBadShares)
	if st := s.Status(); st.State != StateUnsealed || st.Shares != 1 {
		t.Errorf("the store itself is changed: %+v", st)
	}
}

func errOfThree[A, B any](_ A, _ B, err error) error { return err }
