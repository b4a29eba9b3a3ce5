package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/records"
	"secretstore/store"
	"secretstore/store/bolt"
	"secretstore/store/memory"
)

var largeValue = Change{Kind: Binary, Value: bytes.Repeat([]byte("large"), 60<<10)}

func createAll(t *testing.T, s *Store, all map[string]Change) {
	t.Helper()
	for p, c := range all {
		if _, err := s.Create(t.Context(), path(t, p), c); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRotationReencryptsDeletedSecretsAndEarlierValues also undeletes under the
// new key.
func TestRotationReencryptsDeletedSecretsAndEarlierValues(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	createAll(t, s, map[string]Change{"f/small": text("first"), "f/large": largeValue, "f/live": text("first")})
	for _, p := range []string{"f/small", "f/live"} {
		if _, err := s.Update(ctx, path(t, p), text("second")); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[string]string{}
	for _, p := range []string{"f/small", "f/large"} {
		got, err := s.Get(ctx, path(t, p), store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		ids[p] = got.ID
		if err := s.Delete(ctx, path(t, p), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	if info := settleRotation(t, s); info.Done != info.Total || info.Total < 3+4 { // the records, and a blob with its three pieces
		t.Errorf("%+v", info)
	}
	deleted := 0
	for key, node := range dump(t, b) {
		if h, err := envelope.ParseHeader(node.Data); err == nil && h.Term != 0 && h.Term != 2 {
			t.Errorf("%s is under term %d", key, h.Term)
		} else if err == nil && h.Kind == envelope.KindDeleted {
			deleted++
		}
	}
	if deleted != 2 {
		t.Errorf("%d deleted secrets in the storage", deleted)
	}
	for p, id := range ids {
		if back, err := s.Undelete(ctx, path(t, p)); err != nil || back.ID != id {
			t.Errorf("%s: %q, %v", p, back.ID, err)
		}
	}
	if got, err := s.Get(ctx, path(t, "f/large"), store.Latest); err != nil || !bytes.Equal(got.Value, largeValue.Value) {
		t.Error(err)
	}
	for _, p := range []string{"f/small", "f/live"} {
		if got, err := s.GetVersion(ctx, path(t, p), 1, store.Latest); err != nil || string(got.Value) != "first" {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// TestCrashInDeleteUndeleteAndPurge fails each write of each operation, with and
// without effect. The secret must then be complete, live or deleted.
func TestCrashInDeleteUndeleteAndPurge(t *testing.T) {
	operations := map[string]func(context.Context, *Store) error{
		"delete":   func(ctx context.Context, s *Store) error { return s.Delete(ctx, path(t, "f/live"), nil) },
		"undelete": func(ctx context.Context, s *Store) error { return errOf(s.Undelete(ctx, path(t, "f/deleted"))) },
		"purge":    func(ctx context.Context, s *Store) error { return s.Purge(ctx, path(t, "f/live"), nil) },
		"version":  func(ctx context.Context, s *Store) error { return s.DeleteVersion(ctx, path(t, "f/old"), 1, nil) },
	}
	for name, operation := range operations {
		for failAt := range 4 {
			for _, persisted := range []bool{false, true} {
				crashOperation(t, name, failAt, persisted, operation)
			}
		}
	}
}

func crashOperation(t *testing.T, name string, failAt int, persisted bool, operation func(context.Context, *Store) error) {
	t.Helper()
	ctx := t.Context()
	f := &faulty{Backend: memory.New()}
	s, key := unsealedOn(t, f)
	createAll(t, s, map[string]Change{"f/live": largeValue, "f/deleted": largeValue, "f/old": text("first")})
	for _, err := range []error{s.Delete(ctx, path(t, "f/deleted"), nil), errOf(s.Update(ctx, path(t, "f/old"), text("second")))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.cleanup.Wait()
	var n atomic.Int64
	decide := func([]store.Op) (bool, error) {
		if i := n.Add(1); i >= int64(failAt+1) {
			return persisted && i == int64(failAt+1), store.ErrOutcomeUnknown // later writes have no effect
		}
		return true, nil
	}
	f.apply.Store(&decide)
	operationErr := operation(ctx, s)
	s.Close()
	f.apply.Store(nil)

	s = open(t, f, false)
	defer s.Close()
	if _, err := s.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	where := fmt.Sprintf("%s, write %d fails (persisted %v)", name, failAt, persisted)
	for _, p := range []string{"f/live", "f/deleted"} {
		_, err := s.Undelete(ctx, path(t, p))
		switch {
		case errors.Is(err, ErrNotFound) && (name == "purge" && p == "f/live"):
			continue
		case err != nil && !errors.Is(err, ErrExists):
			t.Errorf("%s: %s cannot be undeleted: %v", where, p, err)
		}
		if got, err := s.Get(ctx, path(t, p), store.Latest); err != nil || !bytes.Equal(got.Value, largeValue.Value) {
			t.Errorf("%s: %s: %v", where, p, err)
		}
	}
	_, err := s.GetVersion(ctx, path(t, "f/old"), 1, store.Latest)
	if name != "version" && err != nil || operationErr == nil && name == "version" && !errors.Is(err, ErrNotFound) {
		t.Errorf("%s: version 1: %v", where, err)
	}
}

// TestDeletedSecretsExpire checks that they are removed with their pieces once
// UndeleteFor has passed, and not earlier.
func TestDeletedSecretsExpire(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx, now := t.Context(), time.Now()
	createAll(t, s, map[string]Change{"f/expired": largeValue, "f/soon": largeValue, "g/expired": text("v")})
	for p, ago := range map[string]time.Duration{"f/expired": UndeleteFor + time.Hour, "f/soon": UndeleteFor - time.Hour, "g/expired": UndeleteFor + time.Hour} {
		if err := records.DeleteAt(ctx, s.Secrets, path(t, p), nil, now.Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	// It is not visible, whether or not it was collected.
	wantErr(t, "Undelete after expiry", errOf(s.Undelete(ctx, path(t, "f/expired"))), ErrNotFound)
	_, err := s.Versions(ctx, path(t, "f/expired"), store.Latest)
	wantErr(t, "Versions after expiry", err, ErrNotFound)
	wantErr(t, "DeleteVersion after expiry", s.DeleteVersion(ctx, path(t, "f/expired"), 1, nil), ErrNotFound)

	due := map[store.Key]time.Time{}
	for _, row := range []struct {
		at      time.Time
		folders int // with deleted secrets
	}{{now, 1}, {now.Add(30 * time.Minute), 1}, {now.Add(2 * time.Hour), 0}, {now.Add(3 * time.Hour), 0}} {
		if err := s.collector.Expire(ctx, due, row.at); err != nil {
			t.Fatal(err)
		}
		s.cleanup.Wait()
		if n := children(t, b, barrier.KeyDeleted); n != row.folders {
			t.Errorf("at %v: %d folders of deleted secrets, want %d", row.at, n, row.folders)
		}
		if n := children(t, b, barrier.KeyBlobs); n != row.folders {
			t.Errorf("at %v: %d blobs, want %d", row.at, n, row.folders)
		}
	}
	if len(due) != 0 {
		t.Errorf("%d expiry times are still remembered", len(due))
	}
}

// TestExpiryLeavesALaterDeleteAlone deletes a secret, undeletes it and deletes it
// again on another server, so that the record has the version it had before. The
// server that expires the first delete has not heard of the second.
func TestExpiryLeavesALaterDeleteAlone(t *testing.T) {
	first, view, second := twoServers(t)
	ctx, now, p := t.Context(), time.Now(), path(t, "f/a")
	create(t, first, p, "v")
	if err := records.DeleteAt(ctx, first.Secrets, p, nil, now.Add(time.Hour-UndeleteFor)); err != nil {
		t.Fatal(err)
	}
	if err := first.collector.Expire(ctx, map[store.Key]time.Time{}, now); err != nil {
		t.Fatal(err)
	}
	view.freeze("")
	if _, err := second.Undelete(ctx, p); err != nil {
		t.Fatal(err)
	}
	if err := records.DeleteAt(ctx, second.Secrets, p, nil, now); err != nil {
		t.Fatal(err)
	}
	if err := first.collector.Expire(ctx, map[store.Key]time.Time{}, now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Undelete(ctx, p); err != nil {
		t.Errorf("a secret that has just been deleted: %v", err)
	}
}

// TestLaterDeleteReplacesTheEarlier checks that the pieces of the earlier deleted
// secret are removed.
func TestLaterDeleteReplacesTheEarlier(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx, p := t.Context(), path(t, "f/a")
	for round := range 3 {
		c := largeValue
		c.Value = append([]byte{byte(round)}, c.Value...)
		if _, err := s.Create(ctx, p, c); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, p, nil); err != nil {
			t.Fatal(err)
		}
		s.cleanup.Wait()
		if n := children(t, b, barrier.KeyBlobs); n != 1 {
			t.Fatalf("round %d: %d blobs", round, n)
		}
	}
	if _, err := s.Undelete(ctx, p); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(ctx, p, store.Latest); err != nil || got.Value[0] != 2 {
		t.Error(err)
	}
}

func TestCollectorKeepsThePiecesOfDeletedSecrets(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	createAll(t, s, map[string]Change{"a": largeValue})
	if err := s.Delete(ctx, path(t, "a"), nil); err != nil {
		t.Fatal(err)
	}
	seen, now := map[store.Key]time.Time{}, time.Now()
	for range 3 {
		if err := s.collector.CollectBlobs(ctx, seen, now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(records.CollectAfter + time.Second)
	}
	if n := children(t, b, barrier.KeyBlobs); n != 1 {
		t.Errorf("%d blobs", n)
	}
}

// between calls a function before each read of a record.
type between struct {
	store.Backend
	before atomic.Pointer[func(store.Key)]
}

func (b *between) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if before := b.before.Load(); before != nil {
		(*before)(key)
	}
	return b.Backend.Get(ctx, key, c)
}

// TestCollectorKeepsThePiecesOfAMovingSecret deletes a secret whenever the
// collector reads it among the live ones, and undeletes it whenever the collector
// reads it among the deleted ones.
func TestCollectorKeepsThePiecesOfAMovingSecret(t *testing.T) {
	b := &between{Backend: memory.New()}
	s, _ := unsealedOn(t, b)
	ctx, p := t.Context(), path(t, "a")
	createAll(t, s, map[string]Change{"a": largeValue})
	got, err := s.Get(ctx, p, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keyOf(s, p)
	if err != nil {
		t.Fatal(err)
	}
	moves := 0
	var hook func(store.Key)
	hook = func(read store.Key) {
		b.before.Store(nil)
		defer b.before.Store(&hook)
		var err error
		switch read {
		case key:
			err = s.Delete(ctx, p, nil)
		case barrier.DeletedKey(key):
			_, err = s.Undelete(ctx, p)
		default:
			return
		}
		if moves++; err != nil {
			t.Error(err)
		}
	}
	b.before.Store(&hook)
	seen := map[store.Key]time.Time{barrier.KeyBlobs + "/" + got.ID: {}} // seen long ago
	_ = s.collector.CollectBlobs(ctx, seen, time.Now())                  // may fail because of the moves
	b.before.Store(nil)
	if moves < 2 {
		t.Fatalf("%d moves", moves)
	}
	if after, err := s.Get(ctx, p, store.Latest); err != nil || !bytes.Equal(after.Value, largeValue.Value) {
		t.Errorf("the pieces were collected: %v", err)
	}
}

func TestStorageWithOnlyDeletedSecretsIsNotEmpty(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	createAll(t, s, map[string]Change{"a": text("v")})
	if err := s.Delete(ctx, path(t, "a"), nil); err != nil {
		t.Fatal(err)
	}
	s.cleanup.Wait()
	s.Close()
	for key, node := range dump(t, b) {
		if !strings.HasPrefix(key, barrier.KeyDeleted) {
			if _, err := b.Apply(ctx, store.Delete(key, node.Version)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st := open(t, b, true).Status(); st.State != StateDamaged {
		t.Errorf("state %v", st.State)
	}
}

// TestDeletedSecretOpensOnlyInItsPlace: it opens neither as a live secret nor as
// another deleted one, and a live secret does not open as a deleted one.
func TestDeletedSecretOpensOnlyInItsPlace(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	createAll(t, s, map[string]Change{"a": text("of a"), "b": text("of b")})
	records := dump(t, b)
	keys := map[string]store.Key{}
	for _, p := range []string{"a", "b"} {
		key, err := keyOf(s, path(t, p))
		if err != nil {
			t.Fatal(err)
		}
		keys[p] = key
		if err := s.Delete(ctx, path(t, p), nil); err != nil {
			t.Fatal(err)
		}
	}
	deleted := dump(t, b)[barrier.DeletedKey(keys["a"])].Data
	put(t, b, barrier.DeletedKey(keys["b"]), deleted)
	wantErr(t, "another deleted secret", errOf(s.Undelete(ctx, path(t, "b"))), ErrCorrupt)
	put(t, b, barrier.DeletedKey(keys["b"]), records[keys["b"]].Data)
	wantErr(t, "a live secret as a deleted one", errOf(s.Undelete(ctx, path(t, "b"))), ErrCorrupt)
	put(t, b, keys["a"], deleted)
	_, err := s.Get(ctx, path(t, "a"), store.Latest)
	wantErr(t, "a deleted secret as a live one", err, ErrCorrupt)
}

// TestPurgeLeavesNothing searches for the ciphertext of every value that a secret
// has had. In a bolt file it may remain in free pages until the file is
// rewritten, which happens at the end of each rotation.
func TestPurgeLeavesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets.db")
	b, err := bolt.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, _ := unsealedOn(t, b)
	ctx, p := t.Context(), path(t, "folder/canary")
	createAll(t, s, map[string]Change{"kept": text("v")})
	otherRecords := dump(t, b)
	traces := map[store.Key][]byte{}
	collectTraces := func() {
		for key, node := range dump(t, b) {
			if _, other := otherRecords[key]; !other {
				traces[fmt.Sprint(key, " ", len(traces))] = node.Data
			}
		}
	}
	createAll(t, s, map[string]Change{"folder/canary": largeValue})
	collectTraces()
	if err := s.Delete(ctx, p, nil); err != nil { // its pieces are kept
		t.Fatal(err)
	}
	createAll(t, s, map[string]Change{"folder/canary": text("second")})
	collectTraces()
	if _, err := s.Update(ctx, p, text("third")); err != nil {
		t.Fatal(err)
	}
	collectTraces()
	if err := s.Purge(ctx, p, nil); err != nil {
		t.Fatal(err)
	}
	// When Purge returns, only the records of the empty folders are left.
	if n := children(t, b, barrier.KeyBlobs); n != 0 {
		t.Errorf("%d blobs", n)
	}
	s.cleanup.Wait()
	for key := range dump(t, b) {
		if _, other := otherRecords[key]; !other {
			t.Errorf("%s is left", key)
		}
	}
	if err := b.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(traces) < 6 {
		t.Fatalf("only %d traces to search for", len(traces))
	}
	for key, data := range traces {
		if bytes.Contains(content, data) {
			t.Errorf("%s is still in the file", key)
		}
	}
	wantErr(t, "purge of nothing", s.Purge(ctx, p, nil), ErrNotFound)
}

func TestPurgeHonorsItsCondition(t *testing.T) {
	s, _, _ := unsealed(t)
	ctx, p := t.Context(), path(t, "a")
	written, err := s.Create(ctx, p, text("v"))
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "another value", s.Purge(ctx, p, func(string) bool { return false }), ErrChanged)
	if err := s.Delete(ctx, p, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(ctx, p, func(now string) bool { return now == written.ID }); err != nil {
		t.Error(err)
	}
	wantErr(t, "Undelete after a purge", errOf(s.Undelete(ctx, p)), ErrNotFound)
}
