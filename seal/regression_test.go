package seal

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/acl"
	"secretstore/store"
	"secretstore/store/memory"
)

// gate calls a function before each transaction.
type gate struct {
	store.Backend
	before atomic.Pointer[func(ops []store.Op)]
}

func (g *gate) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if f := g.before.Load(); f != nil {
		(*f)(ops)
	}
	return g.Backend.Apply(ctx, ops...)
}

func TestServerThatMissedAWipeWritesNothingIntoTheNewStore(t *testing.T) {
	b := memory.New()
	f := &versionsFromZero{Backend: b}
	old, _ := unsealedOn(t, f)
	ctx := t.Context()
	old.cancel() // stops background work: it gets no notifications, as if cut off
	old.owned.Wait()
	for key, node := range dump(t, b) {
		if _, err := b.Apply(ctx, store.Delete(key, node.Version)); err != nil {
			t.Fatal(err)
		}
	}
	fresh, key := initialized(t, f)
	if _, err := fresh.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Create(ctx, path(t, "a"), text("v")); err == nil {
		t.Error("a write under the old keys was acknowledged")
	}
	if names, err := fresh.List(ctx, acl.Path{}, Page{}, store.Latest); err != nil || len(names.Names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// versionsFromZero presents every record as being at version 0, like a new znode.
// Versions must not be relied on across a deletion.
type versionsFromZero struct{ store.Backend }

func (z *versionsFromZero) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	node, err := z.Backend.Get(ctx, key, c)
	node.Version = 0
	return node, err
}

func (z *versionsFromZero) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	real := make([]store.Op, len(ops))
	for i, op := range ops {
		real[i] = op
		if op.Kind == store.OpCheck || op.Kind == store.OpSet || op.Kind == store.OpDelete {
			node, err := z.Backend.Get(ctx, op.Key, store.Latest)
			if err != nil {
				return nil, &store.OpError{Index: i, Key: op.Key, Err: err}
			}
			real[i].Version = node.Version
		}
	}
	_, err := z.Backend.Apply(ctx, real...)
	return make([]store.Version, len(ops)), err
}

func TestRotationKeepsOldKeysWhileAFolderRecordIsMissing(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	for _, p := range []string{"f/a", "g/b"} {
		if _, err := s.Create(ctx, path(t, p), text("v")); err != nil {
			t.Fatal(err)
		}
	}
	key, err := keyOf(s, path(t, "f/a"))
	if err != nil {
		t.Fatal(err)
	}
	folder := key[:strings.LastIndex(key, "/")]
	node, err := b.Get(ctx, folder, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	lose(t, b, folder, key)
	s.folders.Forget()
	if _, err := s.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	info := waitForRotation(t, s, func(i RotationInfo) bool { return i.State == RotationStuck })
	if info.Terms != 2 || info.DamagedRecord != folder {
		t.Fatalf("%+v", info)
	}
	if report, err := s.Keys(ctx); err != nil || report.Rotation.Damaged != info.Damaged || report.Rotation.Reason == "" || report.Skipped.Damaged != 1 || report.Skipped.First[0].Key != folder {
		t.Errorf("the report on the keys: %+v, %v", report, err)
	}
	if got, err := s.Get(ctx, path(t, "f/a"), store.Latest); err != nil || string(got.Value) != "v" {
		t.Errorf("the secret in the damaged folder is lost: %v", err)
	}
	_, err = s.List(ctx, acl.Path{}, Page{}, store.Latest)
	wantErr(t, "list with a missing folder record", err, ErrCorrupt)
	restore(t, b, folder, node.Data, key)
	if _, err := s.List(ctx, acl.Path{}, Page{}, store.Latest); err != nil {
		t.Error(err)
	}
}

// lose removes the record of a folder that has secrets, as an operator can do by
// mistake on ZooKeeper, where a znode without data is only a parent.
func lose(t *testing.T, b store.Backend, folder store.Key, children ...store.Key) {
	t.Helper()
	saved := map[store.Key][]byte{}
	for _, key := range children {
		node, err := b.Get(t.Context(), key, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		saved[key] = node.Data
		if _, err := b.Apply(t.Context(), store.Delete(key, node.Version)); err != nil {
			t.Fatal(err)
		}
	}
	node, err := b.Get(t.Context(), folder, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), store.Delete(folder, node.Version)); err != nil {
		t.Fatal(err)
	}
	for key, data := range saved {
		put(t, b, key, data)
	}
}

func restore(t *testing.T, b store.Backend, folder store.Key, data []byte, _ ...store.Key) {
	t.Helper()
	if _, err := b.Apply(t.Context(), store.Create(folder, data)); err != nil {
		t.Fatal(err)
	}
}

func waitForRotation(t *testing.T, s *Store, until func(RotationInfo) bool) RotationInfo {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		info, err := s.RotationStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if until(info) {
			return info
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", info)
		}
	}
}

func TestForeignRecordBelowASecretIsReported(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	if _, err := s.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	key, err := keyOf(s, path(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, key+"/foreign", []byte("x"))
	err = s.Delete(ctx, path(t, "a"), nil)
	wantErr(t, "delete", err, ErrCorrupt)
	if err != nil && !strings.Contains(err.Error(), key) {
		t.Errorf("the error does not name the record: %v", err)
	}
}

func TestMissingPieceIsDamageNotAnOutage(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	if _, err := s.Create(ctx, path(t, "large"), Change{Kind: Binary, Value: make([]byte, 300<<10)}); err != nil {
		t.Fatal(err)
	}
	for key, node := range dump(t, b) {
		if strings.HasSuffix(key, "/000001") {
			if _, err := b.Apply(ctx, store.Delete(key, node.Version)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := s.Get(ctx, path(t, "large"), store.Cached)
	wantErr(t, "read of a value with a missing piece", err, ErrCorrupt)
	if err != nil && !strings.Contains(err.Error(), "/000001") {
		t.Errorf("the error does not name the piece: %v", err)
	}
}

func TestRefusedLargeWritesDoNotReachTheStorage(t *testing.T) {
	g := &gate{Backend: memory.New()}
	s, _ := unsealedOn(t, g)
	ctx := t.Context()
	if _, err := s.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	var writes atomic.Int64
	count := func([]store.Op) { writes.Add(1) }
	g.before.Store(&count)
	large := Change{Kind: Binary, Value: make([]byte, 1<<20)}
	wantErr(t, "create over a secret", errOf(s.Create(ctx, path(t, "a"), large)), ErrExists)
	wantErr(t, "update of nothing", errOf(s.Update(ctx, path(t, "b"), large)), ErrNotFound)
	if n := writes.Load(); n != 0 {
		t.Errorf("refused writes made %d transactions", n)
	}
}

func TestInitSucceedsWhenTheStorageFailsAfterItsWrite(t *testing.T) {
	f := &faulty{Backend: memory.New()}
	s := open(t, f, false)
	decide := func([]store.Op) (bool, error) {
		f.down.Store(true) // every later call fails
		return true, nil
	}
	f.apply.Store(&decide)
	info, err := s.Init(t.Context(), sameHolder(t, 1, 1))
	if err != nil || len(info.Keys) != 1 {
		t.Errorf("the store was initialized, but Init returned %v", err)
	}
}

func TestConcurrentUnsealsAllSucceed(t *testing.T) {
	for range 20 {
		b := memory.New()
		first, key := initialized(t, b)
		all := []*Store{first, open(t, b, false), open(t, b, false)}
		done := make(chan error, len(all))
		for _, s := range all {
			go func() {
				_, err := s.Unseal(context.Background(), []byte(key))
				done <- err
			}()
		}
		for range all {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range all {
			if st := s.Status(); st.State != StateUnsealed {
				t.Fatalf("%+v", st)
			}
			s.Close()
		}
	}
}

// staleKey answers cached reads of one key with old data, like a cache that has
// not heard of a change made by hand.
type staleKey struct {
	store.Backend
	key  atomic.Pointer[store.Key]
	data atomic.Pointer[[]byte]
}

func (s *staleKey) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	node, err := s.Backend.Get(ctx, key, c)
	if k := s.key.Load(); k != nil && *k == key && c == store.Cached {
		node.Data = *s.data.Load()
	}
	return node, err
}

func TestRecordRepairedByHandIsServedAtOnce(t *testing.T) {
	b := &staleKey{Backend: memory.New()}
	s, _ := unsealedOn(t, b)
	ctx := t.Context()
	if _, err := s.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	key, err := keyOf(s, path(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	junk := []byte("junk")
	b.data.Store(&junk)
	b.key.Store(&key)
	if got, err := s.Get(ctx, path(t, "a"), store.Cached); err != nil || string(got.Value) != "v" {
		t.Errorf("the damaged record is still served from the cache: %v", err)
	}
}
