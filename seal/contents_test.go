package seal

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
	"secretstore/store/memory"
)

// withEverything returns an unsealed store that has records of every kind, and its
// unseal key.
func withEverything(t *testing.T) (*Store, string) {
	t.Helper()
	s, _, share := unsealed(t)
	for _, name := range []string{"a", "f/b", "f/gone"} {
		mustSucceed(t, errOf(s.Create(t.Context(), path(t, name), text("1"))))
	}
	mustSucceed(t, errOf(s.Create(t.Context(), path(t, "large"), text(strings.Repeat("large ", 100_000)))))
	mustSucceed(t, s.Delete(t.Context(), path(t, "f/gone"), nil))
	following(t, s).change(t, s, "user/alice=1")
	return s, share
}

// TestFirstUnsealNamesWhatARestoredStoreLacks: somebody has changed the storage
// between the restore and the first unseal.
func TestFirstUnsealNamesWhatARestoredStoreLacks(t *testing.T) {
	s, share := withEverything(t)
	b := backupOf(t, s, BackupOptions{})
	piece := ""
	mustSucceed(t, b.Each(func(key store.Key, _ []byte) error {
		if strings.HasPrefix(key, barrier.KeyBlobs+"/") && strings.Count(key, "/") > strings.Count(barrier.KeyBlobs, "/")+1 {
			piece = key
		}
		return nil
	}))
	secret, err := keyOf(s, path(t, "f/b"))
	mustSucceed(t, err)
	without := func(keys ...store.Key) func(*memory.Backend) {
		return func(to *memory.Backend) {
			for _, key := range keys {
				node, err := to.Get(t.Context(), key, store.Latest)
				mustSucceed(t, err)
				mustSucceed(t, errOf(to.Apply(t.Context(), store.Delete(key, node.Version))))
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*memory.Backend)
		o      RestoreOptions
		want   []string // in the warning; none if there is no warning
	}{
		"nothing":                  {change: func(*memory.Backend) {}},
		"nothing, without the IAM": {change: func(*memory.Backend) {}, o: RestoreOptions{WithoutIAM: true}},
		"a secret":                 {change: without(secret), want: []string{"2 secrets instead of 3", "restore it again"}},
		"a piece":                  {change: without(piece), want: []string{"records of large values instead of"}},
		"one more":                 {change: func(to *memory.Backend) { put(t, to, secret+"x", []byte("x")) }, want: []string{"4 secrets instead of 3"}},
		"deleted ones": {
			change: func(to *memory.Backend) { removeBelow(t, to, barrier.KeyDeleted); removeBelow(t, to, barrier.KeyIAM) },
			want:   []string{"0 deleted secrets instead of 1", "no users, groups and grants"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := restoredTo(t, b, c.o)
			c.change(to)
			r := open(t, to, false)
			if got := r.Status().RestoreWarning; got != "" {
				t.Errorf("while it is sealed: %s", got)
			}
			st, err := r.Unseal(t.Context(), []byte(share))
			if err != nil || st.State != StateUnsealed {
				t.Fatal(st.State, err)
			}
			if len(c.want) == 0 && st.RestoreWarning != "" {
				t.Error(st.RestoreWarning)
			}
			for _, want := range c.want {
				if !strings.Contains(st.RestoreWarning, want) {
					t.Errorf("%q does not have %q", st.RestoreWarning, want)
				}
			}
		})
	}
}

// removeBelow removes a record and all below it.
func removeBelow(t *testing.T, b store.Backend, key store.Key) {
	t.Helper()
	list, err := b.Children(t.Context(), key, store.Latest)
	mustSucceed(t, err)
	for _, name := range list.Names {
		removeBelow(t, b, key+"/"+name)
	}
	if node, err := b.Get(t.Context(), key, store.Latest); err == nil {
		mustSucceed(t, errOf(b.Apply(t.Context(), store.Delete(key, node.Version))))
	}
}

// unlisted is a storage in which the lists of secrets wait until it is closed.
type unlisted struct {
	store.Backend
	listed chan struct{}
}

func (u unlisted) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	if strings.HasPrefix(key, barrier.KeySecrets) {
		select {
		case <-u.listed:
		case <-ctx.Done():
			return store.Listing{}, ctx.Err()
		}
	}
	return u.Backend.Children(ctx, key, c)
}

// TestAnUnsealDoesNotWaitForALongCount: it is done afterwards.
func TestAnUnsealDoesNotWaitForALongCount(t *testing.T) {
	s, share := withEverything(t)
	b := backupOf(t, s, BackupOptions{})
	for name, want := range map[string]string{"whole": "", "without a deleted secret": "the store had 3 secrets, deleted ones included, but the backup has 4"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := restoredTo(t, b, RestoreOptions{})
			if want != "" {
				removeBelow(t, to, barrier.KeyDeleted)
			}
			slow := unlisted{to, make(chan struct{})}
			r := open(t, slow, false)
			st, err := r.Unseal(t.Context(), []byte(share))
			if err != nil || !strings.Contains(st.RestoreWarning, "still being checked") {
				t.Fatalf("%+v, %v", st, err)
			}
			close(slow.listed)
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
				got := r.Status().RestoreWarning
				if got == "" && want == "" || want != "" && strings.Contains(got, want) {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("%q", got)
				}
			}
		})
	}
}

// TestABackupOfAnEarlierReleaseIsNotCounted: its keyring does not say what it has.
func TestABackupOfAnEarlierReleaseIsNotCounted(t *testing.T) {
	s, share := withEverything(t)
	to := restoredTo(t, backupOf(t, s, BackupOptions{}), RestoreOptions{})
	mustSucceed(t, s.barrier.Use(func(k *barrier.Keys) error {
		ring, err := barrier.OpenKeyring(k.UUID, k.Root, record(t, to, barrier.KeyKeyring))
		if err != nil {
			return err
		}
		defer ring.Clear()
		data, err := ring.OfBackup(ring.Backup, barrier.Contents{}).Seal(k.Root, k.UUID)
		put(t, to, barrier.KeyKeyring, bytes.Clone(data))
		return err
	}))
	removeBelow(t, to, barrier.KeyDeleted)
	r := open(t, to, false)
	if st, err := r.Unseal(t.Context(), []byte(share)); err != nil || st.RestoreWarning != "" {
		t.Errorf("%+v, %v", st, err)
	}
}
