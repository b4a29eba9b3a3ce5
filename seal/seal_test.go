package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/records"
	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
	"secretstore/store/storetest"
)

// Copies of unexported constants of the internal packages.
const (
	inlineMax = 128 << 10
	pieceSize = 128 << 10
	maxQueued = 256
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// holder has the private key that shares are wrapped for.
var holder = sealtest.Key(sealtest.Holder)

func holderPublic(t *testing.T) string {
	t.Helper()
	pub, err := holder.Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := pub.Export()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func open(t *testing.T, b store.Backend, bootstrap bool) *Store {
	t.Helper()
	if _, plain := b.(*memory.Backend); plain { // wrapping another backend could hide methods that it has
		b = storetest.CheckUnchanged(t, b)
	}
	s, err := Open(t.Context(), Options{Backend: b, Bootstrap: bootstrap, MaxSecretSize: 4 << 20, KeepVersions: DefaultKeepVersions, GenerateKey: sealtest.GenerateKey, Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// bootstrapped opens a store that initializes and unseals itself, and waits until
// it has done so.
func bootstrapped(t *testing.T, b store.Backend) *Store {
	t.Helper()
	s := open(t, b, true)
	await(t, s, isUnsealed)
	return s
}

func isUnsealed(st State) bool { return st == StateUnsealed }

// keyOf returns the key of a secret's record.
func keyOf(s *Store, p acl.Path) (store.Key, error) {
	at, err := s.barrier.Locate(p)
	return at.Key, err
}

// keepVersions sets how many earlier values s keeps.
func keepVersions(s *Store, n int) {
	s.Secrets = records.NewSecrets(s.reader, s.cleanup, records.NewGenerations(s.backend, s.barrier), s.MaxSecretSize(), n)
}

// await waits for a state. On a busy machine, a bootstrap may take longer than
// Open waits for it.
func await(t *testing.T, s *Store, reached func(State) bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !reached(s.Status().State); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still %+v", s.Status())
		}
	}
}

// initialized returns a sealed store and its unseal key.
func initialized(t *testing.T, b store.Backend) (*Store, string) {
	t.Helper()
	s := open(t, b, false)
	info, err := s.Init(t.Context(), InitParams{Shares: 1, Threshold: 1, PGPKeys: []string{holderPublic(t)}})
	if err != nil {
		t.Fatal(err)
	}
	return s, unsealKeyOf(t, info)
}

func unsealKeyOf(t *testing.T, info InitInfo) string {
	t.Helper()
	message, err := hex.DecodeString(info.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := holder.Unwrap(message)
	if err != nil {
		t.Fatal(err)
	}
	return string(key)
}

// unsealed returns an open store on a fresh memory backend.
func unsealed(t *testing.T) (*Store, *memory.Backend, string) {
	t.Helper()
	b := memory.New()
	s, key := unsealedOn(t, b)
	return s, b, key
}

func unsealedOn(t *testing.T, b store.Backend) (*Store, string) {
	t.Helper()
	s, key := initialized(t, b)
	if st, err := s.Unseal(t.Context(), []byte(key)); err != nil || st.Sealed() {
		t.Fatalf("Unseal = %+v, %v", st, err)
	}
	return s, key
}

func path(t testing.TB, s string) acl.Path {
	t.Helper()
	p, err := acl.ParsePath(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return p
}

func text(v string) Change { return Change{Kind: Text, Value: []byte(v), Author: "alice"} }

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: err = %v, want %v", what, err, want)
	}
}

// errOf drops the value id returned by a write.
func errOf[T any](_ T, err error) error { return err }

func TestOnlyTheRightKeyUnsealsANewStore(t *testing.T) {
	s, key := initialized(t, memory.New())
	ctx := t.Context()
	if st := s.Status(); st.State != StateSealed || st.Shares != 1 || st.Threshold != 1 {
		t.Fatalf("after Init: %+v", st)
	}
	_, err := s.Init(ctx, InitParams{Shares: 1, Threshold: 1, PGPKeys: []string{holderPublic(t)}})
	wantErr(t, "second Init", err, ErrInitialized)
	for _, bad := range []string{"", "zz", key[2:], key + "00"} {
		_, err := s.Unseal(ctx, []byte(bad))
		wantErr(t, fmt.Sprintf("Unseal with %d digits", len(bad)), err, ErrBadKey)
	}
	_, err = s.Unseal(ctx, []byte(strings.Repeat("ab", 32)))
	wantErr(t, "Unseal with another key", err, ErrWrongKey)
	_, err = s.Get(ctx, path(t, "a"), store.Cached)
	wantErr(t, "Get while sealed", err, ErrSealed)
	wantErr(t, "Create while sealed", errOf(s.Create(ctx, path(t, "a"), text("v"))), ErrSealed)
	_, err = s.AutoUnseal(ctx, "")
	wantErr(t, "AutoUnseal without a bootstrap key", err, ErrNoBootstrapKey)
	if st, err := s.Unseal(ctx, []byte(" "+key+"\n")); err != nil || st.State != StateUnsealed {
		t.Fatalf("Unseal = %+v, %v", st, err)
	}
	if st, err := s.Unseal(ctx, []byte("anything")); err != nil || st.State != StateUnsealed {
		t.Fatalf("Unseal of an unsealed store = %+v, %v", st, err)
	}
}

func TestInitRefusesInvalidShares(t *testing.T) {
	s := open(t, memory.New(), false)
	pub := holderPublic(t)
	for _, p := range []InitParams{
		{Shares: 1, Threshold: 1},
		{Shares: 2, Threshold: 1, PGPKeys: []string{pub}},
		{Shares: 2, Threshold: 3, PGPKeys: []string{pub, pub}},
		{Shares: 1, Threshold: 0, PGPKeys: []string{pub}},
		{Shares: 0, Threshold: 0},
	} {
		_, err := s.Init(t.Context(), p)
		wantErr(t, fmt.Sprintf("shares %d threshold %d", p.Shares, p.Threshold), err, ErrBadShares)
	}
	_, err := s.Init(t.Context(), InitParams{Shares: 1, Threshold: 1, PGPKeys: []string{"not a key"}})
	var ke *pgp.KeyError
	if !errors.As(err, &ke) {
		t.Errorf("err = %v, want a KeyError", err)
	}
	if st := s.Status(); st.State != StateUninitialized {
		t.Errorf("state = %v", st.State)
	}
}

func TestValuesOfEverySizeAreReadBackUnchanged(t *testing.T) {
	s, _, _ := unsealed(t)
	ctx := t.Context()
	for _, size := range []int{0, 1, 255, inlineMax - 1, inlineMax, inlineMax + 1, 2 * pieceSize, 2*pieceSize + 1, 1 << 20} {
		p := path(t, fmt.Sprintf("sizes/s%d", size))
		value := bytes.Repeat([]byte{0xff, 0, 'x'}, size/3+1)[:size]
		if _, err := s.Create(ctx, p, Change{Kind: Binary, Value: value, Author: "bob"}); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		for _, c := range []store.Consistency{store.Cached, store.Latest} {
			got, err := s.Get(ctx, p, c)
			if err != nil || !bytes.Equal(got.Value, value) || got.Kind != Binary || got.Author != "bob" || got.Version != 1 {
				t.Fatalf("%d bytes: err %v, %d bytes back", size, err, len(got.Value))
			}
		}
	}
	wantErr(t, "one byte over the limit", errOf(s.Create(ctx, path(t, "big"), Change{Kind: Binary, Value: make([]byte, 4<<20+1)})), ErrTooLarge)
}

func TestUpdateKeepsUnnamedMetadata(t *testing.T) {
	s, _, _ := unsealed(t)
	ctx, p := t.Context(), path(t, "a/b")
	describe, labels := "a description", []string{"x", "y"}
	c := text("one")
	c.Description, c.Labels = &describe, &labels
	if _, err := s.Create(ctx, p, c); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "second Create", errOf(s.Create(ctx, p, text("other"))), ErrExists)
	first, err := s.Get(ctx, p, store.Cached)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(ctx, p, Change{Kind: Binary, Value: []byte("two"), Author: "mallory"}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(ctx, p, store.Cached)
	if err != nil {
		t.Fatal(err)
	}
	want := first
	want.Kind, want.Value, want.Version, want.ID, want.Written = Binary, []byte("two"), 2, got.ID, got.Written
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !first.Written.Equal(first.Created) || !got.Written.After(first.Written) {
		t.Errorf("written %v, then %v", first.Written, got.Written)
	}
	if got.ID == first.ID {
		t.Error("the value id did not change")
	}
	if err := s.Delete(ctx, p, nil); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "second Delete", s.Delete(ctx, p, nil), ErrNotFound)
	wantErr(t, "Update of nothing", errOf(s.Update(ctx, p, text("x"))), ErrNotFound)
	_, err = s.Get(ctx, p, store.Cached)
	wantErr(t, "Get of nothing", err, ErrNotFound)
}

func TestReplacedAndDeletedPiecesAreRemoved(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx, p := t.Context(), path(t, "large")
	for i := range 3 {
		change := Change{Kind: Binary, Value: bytes.Repeat([]byte{byte(i)}, 300<<10)}
		write := s.Update
		if i == 0 {
			write = s.Create
		}
		if _, err := write(ctx, p, change); err != nil {
			t.Fatal(err)
		}
		s.cleanup.Wait()
		if n := children(t, b, barrier.KeyBlobs); n != 1 {
			t.Fatalf("%d blobs after write %d, want 1", n, i)
		}
	}
	wantErr(t, "Create over it", errOf(s.Create(ctx, p, Change{Kind: Binary, Value: make([]byte, 300<<10)})), ErrExists)
	if n := children(t, b, barrier.KeyBlobs); n != 1 {
		t.Errorf("%d blobs after a refused create, want 1", n)
	}
	if err := s.Delete(ctx, p, nil); err != nil {
		t.Fatal(err)
	}
	s.cleanup.Wait()
	if n := children(t, b, barrier.KeyBlobs); n != 1 {
		t.Errorf("%d blobs after the delete, want that of the deleted secret", n)
	}
}

func children(t *testing.T, b store.Backend, key store.Key) int {
	t.Helper()
	list, err := b.Children(t.Context(), key, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Names)
}

func TestOnlyOrphanedPiecesAreCollected(t *testing.T) {
	b := memory.New()
	f := &faulty{Backend: b}
	s, _ := unsealedOn(t, f)
	ctx := t.Context()
	value := bytes.Repeat([]byte("v"), 300<<10)
	if _, err := s.Create(ctx, path(t, "kept"), Change{Kind: Binary, Value: value}); err != nil {
		t.Fatal(err)
	}
	var late []store.Op // the transaction of a slow write
	commit := func(ops []store.Op) (bool, error) {
		if !slices.ContainsFunc(ops, func(op store.Op) bool {
			return op.Kind == store.OpCreate && strings.HasPrefix(op.Key, barrier.KeySecrets)
		}) {
			return true, nil
		}
		late = ops
		return false, store.ErrOutcomeUnknown
	}
	f.apply.Store(&commit)
	_, err := s.Create(ctx, path(t, "slow"), Change{Kind: Binary, Value: value})
	wantErr(t, "a write that is slow", err, store.ErrOutcomeUnknown)
	f.apply.Store(nil)
	seen, now := map[store.Key]time.Time{}, time.Now()
	for i, want := range []int{2, 2, 1} {
		if err := s.collector.CollectBlobs(ctx, seen, now); err != nil {
			t.Fatal(err)
		}
		if n := children(t, b, barrier.KeyBlobs); n != want {
			t.Fatalf("collection %d: %d blobs, want %d", i, n, want)
		}
		now = now.Add(records.CollectAfter - time.Second)
		if i == 1 {
			now = now.Add(time.Minute)
		}
	}
	if got, err := s.Get(ctx, path(t, "kept"), store.Latest); err != nil || !bytes.Equal(got.Value, value) {
		t.Errorf("a value in use was lost: %v", err)
	}
	// The slow write must now fail: its pieces are gone.
	_, err = b.Apply(ctx, late...)
	wantErr(t, "late commit", err, store.ErrNotFound)
}

func TestListIsRecursiveRelativeAndSorted(t *testing.T) {
	s, _, _ := unsealed(t)
	ctx := t.Context()
	for _, name := range []string{"key1", "folder/key2", "folder/key3", "folder/sub", "folder/sub/key4", "folder-b/x"} {
		if _, err := s.Create(ctx, path(t, name), text("v")); err != nil {
			t.Fatal(err)
		}
	}
	rows := map[string][]string{
		"":             {"folder-b/x", "folder/key2", "folder/key3", "folder/sub", "folder/sub/key4", "key1"},
		"folder":       {"key2", "key3", "sub", "sub/key4"},
		"folder/sub":   {"key4"},
		"fold":         {},
		"key1":         {},
		"not/a/folder": {},
	}
	for under, want := range rows {
		var p acl.Path
		if under != "" {
			p = path(t, under)
		}
		got, err := s.List(ctx, p, Page{}, store.Cached)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Names); diff != "" {
			t.Errorf("list of %q: %s", under, diff)
		}
		var paged []string
		for after := ""; ; {
			page, err := s.List(ctx, p, Page{After: after, Limit: 2}, store.Cached)
			if err != nil {
				t.Fatal(err)
			}
			paged = append(paged, page.Names...)
			if after = page.Next; after == "" {
				break
			}
		}
		if strings.Join(paged, " ") != strings.Join(want, " ") {
			t.Errorf("pages of %q: %q", under, paged)
		}
	}
}

func TestEmptyFoldersLeaveNoRecord(t *testing.T) {
	s, b, _ := unsealed(t)
	if _, err := s.Create(t.Context(), path(t, "f/a"), text("v")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), path(t, "f/a"), nil); err != nil {
		t.Fatal(err)
	}
	s.cleanup.Wait()
	if n := children(t, b, barrier.KeySecrets); n != 0 {
		t.Errorf("%d buckets left", n)
	}
}

func TestSealIntentSurvivesARestart(t *testing.T) {
	b := memory.New()
	ctx := t.Context()
	s := bootstrapped(t, b)
	if st := s.Status(); st.State != StateUnsealed || !st.HoldsBootstrapKey {
		t.Fatalf("after bootstrap: %+v", st)
	}
	if _, err := s.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, b, true)
	if got, err := s.Get(ctx, path(t, "a"), store.Cached); err != nil || string(got.Value) != "v" {
		t.Fatalf("after a restart: %v", err)
	}
	if st, err := s.Seal(ctx, "root"); err != nil || st.State != StateSealed {
		t.Fatalf("Seal = %+v, %v", st, err)
	}
	s.Close()
	s = open(t, b, true)
	if st := s.Status(); st.State != StateSealed {
		t.Fatalf("sealed by an operator, but %v after a restart", st.State)
	} else if st.SealedBy != "root" || st.SealedAt.IsZero() || st.Since.Before(st.SealedAt) {
		t.Errorf("after a restart nobody knows who sealed it, and when: %+v", st)
	}
	if st, err := s.AutoUnseal(ctx, ""); err != nil || st.State != StateUnsealed || st.SealedBy != "" {
		t.Fatalf("AutoUnseal = %+v, %v", st, err)
	}
	if _, err := s.Get(ctx, path(t, "a"), store.Cached); err != nil {
		t.Error(err)
	}
}

func TestServerThatMissedASealDropsItsKeys(t *testing.T) {
	a, b, key := unsealed(t)
	other := open(t, b, false)
	ctx := t.Context()
	if _, err := other.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Seal(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	// The other server has noticed neither: its keys are from before the seal.
	_, err := other.Get(ctx, path(t, "a"), store.Cached)
	wantErr(t, "read with the keys from before the seal", err, ErrSealed)
	wantErr(t, "write with the keys from before the seal", errOf(other.Create(ctx, path(t, "b"), text("v"))), ErrSealed)
}

func TestConcurrentBootstrapsMakeOneStore(t *testing.T) {
	b := memory.New()
	stores := make(chan *Store, 3)
	for number := range cap(stores) {
		go func() {
			generate := func() (*pgp.PrivateKey, error) { return sealtest.Key(number), nil } // each server has its own key
			s, err := Open(context.Background(), Options{Backend: b, Bootstrap: true, GenerateKey: generate, Log: zap.NewNop()})
			if err != nil {
				t.Error(err)
			}
			stores <- s
		}()
	}
	ids := map[string]bool{}
	for range cap(stores) {
		s := <-stores
		defer s.Close()
		await(t, s, isUnsealed)
		ids[s.Status().UUID] = true
	}
	if len(ids) != 1 {
		t.Errorf("%d stores", len(ids))
	}
}
