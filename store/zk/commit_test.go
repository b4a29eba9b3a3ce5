//go:build zookeeper

package zk

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk/internal/memory"
)

// openAlone returns a backend with its own root.
func openAlone(t *testing.T) *Backend {
	t.Helper()
	return openOn(t, SharedServer(t))
}

// TestARecordThatWritesCheckIsReadOnce: every write checks the same few records. At
// version 0 they could be znodes that only have children.
func TestARecordThatWritesCheckIsReadOnce(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	if _, err := b.Apply(t.Context(), store.Create("checked", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	b.feed.flush() // as after a start, or when another record has taken its place
	if _, err := b.Apply(t.Context(), store.Check("checked", 0), store.Create("k", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if !b.cache.existing.Has(store.RecordID("checked")) {
		t.Error("the next write reads it again")
	}
	b.cache.existing.Purge()
	if _, err := b.Get(t.Context(), "checked", store.Cached); err != nil {
		t.Fatal(err)
	}
	b.cache.existing.Purge()
	if err := b.write.findBareParents(t.Context(), newRequest(t, b, store.Check("checked", 0)), time.Now().Add(maxCall)); err != nil {
		t.Fatal(err)
	}
	if b.cache.existing.Has(store.RecordID("checked")) {
		t.Error("a record in memory was read")
	}
}

// TestAParentThatWasRemovedIsMadeAgain: a record that was to replace an empty znode
// is made if the znode is missing, whatever is remembered of the folder above it.
func TestAParentThatWasRemovedIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	folder := store.Ensure("f", []byte("folder"))
	if _, err := b.Apply(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	r, err := b.write.builder.NewRequest([]store.Op{folder, store.Create("f/x", []byte("x"))})
	if err != nil {
		t.Fatal(err)
	}
	r.Steps[1].OverParent = true // as if it had been there a moment ago
	b.write.queue.Push(r)
	if _, err := r.Wait(t.Context(), maxCall, errTooSlow); err != nil {
		t.Error(err)
	}
}

// TestAnEnsureIsSentForAMissingFolder, though it was seen as a record since: it may
// be made and removed while a write is repaired.
func TestAnEnsureIsSentForAMissingFolder(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	if _, err := b.Apply(t.Context(), store.Create("root", []byte("is there"))); err != nil {
		t.Fatal(err)
	}
	r, err := b.write.builder.NewRequest([]store.Op{store.Create("f/x", []byte("x")), store.Ensure("f", []byte("folder"))})
	if err != nil {
		t.Fatal(err)
	}
	r.Steps[0].Parents = []store.Key{"f"}
	b.cache.existing.Add(r.Steps[1].ID)
	b.write.queue.Push(r)
	if _, err := r.Wait(t.Context(), maxCall, errTooSlow); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Get(t.Context(), "f", store.Latest); err != nil || string(n.Data) != "folder" {
		t.Errorf("the folder holds %q, %v", n.Data, err)
	}
}

// TestARecordThatIsForgottenAtOnceIsEnsured: what one transaction has found out
// about each is enough for it.
func TestARecordThatIsForgottenAtOnceIsEnsured(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	var ops []store.Op
	for n := range 8 {
		ops = append(ops, store.Ensure(fmt.Sprint("f", n), []byte("folder")))
	}
	for _, op := range ops {
		if _, err := b.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if b.cache.existing, err = memory.NewExisting(1); err != nil {
		t.Fatal(err)
	}
	b.feed.flush()
	if _, err := b.Apply(t.Context(), ops...); err != nil {
		t.Error(err)
	}
}

// TestAWrittenRecordIsKeptWithItsRevision, which is that of the storage.
func TestAWrittenRecordIsKeptWithItsRevision(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	if _, err := b.Apply(t.Context(), store.Create("a", []byte("x")), store.Create("b", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), store.Set("b", []byte("y"), 0), store.Check("a", 0)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []store.Key{"a", "b"} {
		kept, ok := b.cache.entries.Get(store.RecordDigest(key))
		if !ok {
			t.Fatalf("%s is not in memory", key)
		}
		b.cache.entries.Drop(store.RecordID(key))
		read, err := b.Get(t.Context(), key, store.Cached)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Revision == 0 || kept.Revision != read.Revision {
			t.Errorf("%s: kept as written at %d, read as written at %d", key, kept.Revision, read.Revision)
		}
	}
}

// TestNothingIsInMemoryBeforeAServerFollowsChanges: it would not learn when that
// changes.
func TestNothingIsInMemoryBeforeAServerFollowsChanges(t *testing.T) {
	t.Parallel()
	b := openAlone(t)
	use := func(key store.Key) (kept []bool) {
		t.Helper()
		if _, err := b.Apply(t.Context(), store.Create(key, []byte("x"))); err != nil {
			t.Fatal(err)
		}
		_, wrote := b.cache.entries.Get(store.RecordDigest(key))
		b.cache.dropRecord(store.RecordID(key))
		if _, err := b.Get(t.Context(), key, store.Latest); err != nil {
			t.Fatal(err)
		}
		_, read := b.cache.entries.Get(store.RecordDigest(key))
		list, err := b.Children(t.Context(), "f", store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		_, listed := b.cache.entries.Get(store.ListingDigest("f"))
		return []bool{wrote, read, listed, list.Current()}
	}
	if kept := use("f/k"); slices.Contains(kept, false) {
		t.Errorf("a server that follows changes keeps %v", kept)
	}
	b.cache.followed.Store(false)
	b.feed.flush()
	if kept := use("f/other"); slices.Contains(kept, true) {
		t.Errorf("before it follows changes it keeps %v", kept)
	}
}

// TestAWriteUnderWayDoesNotWaitForAStoppedServer: its outcome is unknown to the
// caller as soon as nothing listens, rather than at its deadline. The server finds
// it out later.
func TestAWriteUnderWayDoesNotWaitForAStoppedServer(t *testing.T) {
	t.Parallel()
	server := zktest.Start(t)
	b := openOn(t, server.Addr())
	written(t, b, "before") // there is a change record then
	server.Pause()
	said := make(chan error)
	r := newRequest(t, b, store.Create("k", []byte("x")))
	go func() {
		b.write.queue.Push(r)
		_, err := r.Wait(t.Context(), time.Minute, errTooSlow)
		said <- err
	}()
	for !r.Unsend() { // until it is on its way, which it stays
		time.Sleep(time.Millisecond)
	}
	r.Send()
	server.Kill()
	if err := <-said; !errors.Is(err, store.ErrOutcomeUnknown) || !errors.Is(err, errAway) {
		t.Errorf("%v, want %v, %v", err, store.ErrOutcomeUnknown, errAway)
	}
	server.Restart()
	written(t, b, "k")
}

// written creates key unless it is there, as soon as ZooKeeper is.
func written(t *testing.T, b *Backend, key store.Key) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := b.Apply(t.Context(), store.Create(key, []byte("x")))
		if err == nil || errors.Is(err, store.ErrExists) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", key, err)
		}
	}
}
