package seal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/lifecycle"
	"secretstore/store"
	"secretstore/store/memory"
)

// dump returns all records of a backend.
func dump(t *testing.T, b store.Backend) map[store.Key]store.Node {
	t.Helper()
	out := map[store.Key]store.Node{}
	var walk func(key store.Key)
	walk = func(key store.Key) {
		if node, err := b.Get(t.Context(), key, store.Latest); err == nil {
			out[key] = node
		}
		list, err := b.Children(t.Context(), key, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range list.Names {
			walk(strings.TrimPrefix(key+"/"+name, "/"))
		}
	}
	walk("")
	return out
}

// put writes a record, whether or not it exists.
func put(t *testing.T, b store.Backend, key store.Key, data []byte) {
	t.Helper()
	node, err := b.Get(t.Context(), key, store.Latest)
	op := store.Set(key, data, node.Version)
	if errors.Is(err, store.ErrNotFound) {
		op = store.Create(key, data)
	}
	if _, err := b.Apply(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

func TestStorageRevealsNeitherValuesNorNames(t *testing.T) {
	s, b, key := unsealed(t)
	canaries := []string{"canary-value", "canary-folder", "canary-name", "canary-label", "canary-description", "canary-author", key}
	description, labels := "canary-description", []string{"canary-label"}
	for _, p := range []string{"canary-folder/canary-name", "canary-name", "canary-folder/large"} {
		value := []byte("canary-value")
		if strings.HasSuffix(p, "large") {
			value = bytes.Repeat(value, 30000)
		}
		c := Change{Kind: Text, Value: value, Description: &description, Labels: &labels, Author: "canary-author"}
		if _, err := s.Create(t.Context(), path(t, p), c); err != nil {
			t.Fatal(err)
		}
	}
	records := dump(t, b)
	if len(records) < 10 {
		t.Fatalf("only %d records: the dump does not work", len(records))
	}
	for key, node := range records {
		for _, canary := range canaries {
			if strings.Contains(key, canary) || bytes.Contains(node.Data, []byte(canary)) {
				t.Errorf("%s is visible in %s", canary, key)
			}
		}
	}
}

func TestSwappedRecordsDoNotOpen(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	a, other := path(t, "f/a"), path(t, "f/b")
	for _, p := range []acl.Path{a, other} {
		if _, err := s.Create(ctx, p, text("value of "+p.String())); err != nil {
			t.Fatal(err)
		}
	}
	keyA, _ := keyOf(s, a)
	keyB, _ := keyOf(s, other)
	records := dump(t, b)
	put(t, b, keyA, records[keyB].Data)
	put(t, b, keyB, records[keyA].Data)
	for _, p := range []acl.Path{a, other} {
		got, err := s.Get(ctx, p, store.Cached)
		if !errors.Is(err, ErrCorrupt) || got.Value != nil {
			t.Errorf("%s: %q, %v; want ErrCorrupt", p, got.Value, err)
		}
		if key, _ := keyOf(s, p); !strings.Contains(err.Error(), key) {
			t.Errorf("the error does not name the record: %v", err)
		}
	}
}

// TestDamageInAnyRecordIsReportedAndNeverServed damages one record at a time.
// That must lead to an error or to the state damaged, and never to a panic or to
// a different value.
func TestDamageInAnyRecordIsReportedAndNeverServed(t *testing.T) {
	forms := map[string]func([]byte) []byte{
		"junk":      func([]byte) []byte { return []byte("junk") },
		"truncated": func(d []byte) []byte { return d[:len(d)/2+1] },
		"flipped":   func(d []byte) []byte { d = bytes.Clone(d); d[len(d)-1] ^= 1; return d },
		"longer":    func(d []byte) []byte { return append(bytes.Clone(d), 0) },
		"newer":     func(d []byte) []byte { d = bytes.Clone(d); d[min(2, len(d)-1)] ^= 96; return d },
		"term":      func(d []byte) []byte { d = bytes.Clone(d); d[min(7, len(d)-1)] ^= 8; return d },
		"huge":      func([]byte) []byte { return make([]byte, store.MaxData) },
	}
	values := map[string][]byte{"f/a": []byte("small"), "large": bytes.Repeat([]byte("v"), 300<<10)}
	for form, damage := range forms {
		s, b, key := unsealed(t)
		ctx := t.Context()
		for p, v := range values {
			if _, err := s.Create(ctx, path(t, p), Change{Kind: Binary, Value: v}); err != nil {
				t.Fatal(err)
			}
		}
		for record, node := range dump(t, b) {
			put(t, b, record, damage(node.Data))
			_ = lifecycle.Refresh(ctx, s.Lifecycle)
			noticed := s.Status().State == StateDamaged
			for p, v := range values {
				got, err := s.Get(ctx, path(t, p), store.Latest)
				if err == nil && !bytes.Equal(got.Value, v) {
					t.Errorf("%s %s: a different value was served", form, record)
				}
				if errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s %s: damage was reported as an outage: %v", form, record, err)
				}
				noticed = noticed || err != nil
			}
			s.folders.Forget() // as after a restart
			_, err := s.List(ctx, acl.Path{}, Page{}, store.Latest)
			if noticed = noticed || err != nil; !noticed && strings.Contains(record, "secrets") {
				t.Errorf("%s %s: the damage was not noticed", form, record)
			}
			put(t, b, record, node.Data)
			if _, err := s.Unseal(ctx, []byte(key)); err != nil {
				t.Fatalf("%s %s: after restoring the record: %v", form, record, err)
			}
		}
		s.Close()
	}
}

// lastSeal returns the id of the last seal in a seal intent record.
func lastSeal(t *testing.T, record []byte) string {
	t.Helper()
	var in struct{ Seal string }
	if err := json.Unmarshal(record, &in); err != nil {
		t.Fatal(err)
	}
	return in.Seal
}

// recordedAsSealed reports whether the recorded seal intent is sealed.
func recordedAsSealed(t *testing.T, b store.Backend) bool {
	t.Helper()
	node, err := b.Get(t.Context(), barrier.KeyIntent, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(node.Data, []byte(`"sealed":true`))
}

func TestForgedIntentNeverUnseals(t *testing.T) {
	b := memory.New()
	s := bootstrapped(t, b)
	before, err := b.Get(t.Context(), barrier.KeyIntent, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	sealed, err := b.Get(t.Context(), barrier.KeyIntent, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	oldID, newID := lastSeal(t, before.Data), lastSeal(t, sealed.Data)
	for _, forged := range [][]byte{
		before.Data, // the genuine record from before the seal
		[]byte(`{"format":1,"sealed":false,"seal":"` + newID + `"}`),
		[]byte(`{"format":1,"sealed":false,"seal":"` + newID + `","mac":"00"}`),
		bytes.Replace(before.Data, []byte(oldID), []byte(newID), 1),
	} {
		put(t, b, barrier.KeyIntent, forged)
		if err := lifecycle.Refresh(t.Context(), s.Lifecycle); err != nil {
			t.Error(err)
		}
		if st := s.Status(); st.State != StateSealed {
			t.Errorf("%s: %v", forged, st.State)
		}
		if bytes.Equal(forged, before.Data) {
			continue // a restarted server cannot recognize this one as old: see the threat model
		}
		if restarted := open(t, b, true); restarted.Status().State != StateSealed {
			t.Errorf("%s: unsealed after a restart", forged)
		}
	}
}

func TestLostKeyRecordsAreDamageNotAnEmptyStorage(t *testing.T) {
	for _, lost := range []store.Key{barrier.KeyConfig, barrier.KeyRoot, barrier.KeyKeyring} {
		s, b, _ := unsealed(t)
		if _, err := s.Create(t.Context(), path(t, "a"), text("v")); err != nil {
			t.Fatal(err)
		}
		node, err := b.Get(t.Context(), lost, store.Latest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Apply(t.Context(), store.Delete(lost, node.Version)); err != nil {
			t.Fatal(err)
		}
		restarted := open(t, b, true)
		for name, s := range map[string]*Store{"running": s, "restarted": restarted} {
			_ = lifecycle.Refresh(t.Context(), s.Lifecycle)
			if st := s.Status(); st.State != StateDamaged || !strings.Contains(st.Detail, lost) && name == "restarted" {
				t.Errorf("%s lost, %s: %+v", lost, name, st)
			}
			_, err := s.Init(t.Context(), InitParams{Shares: 1, Threshold: 1, PGPKeys: []string{holderPublic(t)}})
			wantErr(t, "Init over a damaged store", err, ErrDamaged)
			_, err = s.Get(t.Context(), path(t, "a"), store.Cached)
			wantErr(t, "Get from a damaged store", err, ErrDamaged)
		}
	}
}

func TestRunningServerNeverAcceptsAnotherStore(t *testing.T) {
	s, b, _ := unsealed(t)
	for key, node := range dump(t, b) {
		if _, err := b.Apply(t.Context(), store.Delete(key, node.Version)); err != nil {
			t.Fatal(err)
		}
	}
	_ = lifecycle.Refresh(t.Context(), s.Lifecycle)
	if st := s.Status(); st.State != StateDamaged {
		t.Fatalf("after a wipe under a running server: %+v", st)
	}
	fresh, key := initialized(t, b)
	if _, err := fresh.Unseal(t.Context(), []byte(key)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Unseal(t.Context(), []byte(key))
	wantErr(t, "unseal of another store", err, ErrDamaged)
}

// faulty lets a test break the storage between the store and a real backend.
type faulty struct {
	store.Backend
	// apply decides for each transaction whether it is applied, and which error,
	// if any, is returned in place of the outcome.
	apply atomic.Pointer[func([]store.Op) (applied bool, err error)]
	down  atomic.Bool // every call fails
}

func (f *faulty) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if f.down.Load() {
		return nil, store.ErrUnavailable
	}
	decide := f.apply.Load()
	if decide == nil {
		return f.Backend.Apply(ctx, ops...)
	}
	applied, failure := (*decide)(ops)
	if !applied {
		return nil, failure
	}
	versions, err := f.Backend.Apply(ctx, ops...)
	if failure != nil {
		return nil, failure
	}
	return versions, err
}

func (f *faulty) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if f.down.Load() {
		return store.Node{}, store.ErrUnavailable
	}
	return f.Backend.Get(ctx, key, c)
}

func (f *faulty) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	if f.down.Load() {
		return store.Listing{}, store.ErrUnavailable
	}
	return f.Backend.Children(ctx, key, c)
}

func TestSealDuringAnOutageTakesEffectAndIsRecordedLater(t *testing.T) {
	t.Parallel() // waits for the server to retry
	b := memory.New()
	f := &faulty{Backend: b}
	s := bootstrapped(t, f)
	if _, err := s.Create(t.Context(), path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	f.down.Store(true)
	st, err := s.Seal(t.Context(), "root")
	wantErr(t, "Seal", err, ErrSealNotRecorded)
	wantErr(t, "Seal", err, store.ErrUnavailable)
	if st.State != StateSealed {
		t.Fatalf("state %v", st.State)
	}
	f.down.Store(false)
	for deadline := time.Now().Add(time.Minute); !recordedAsSealed(t, b); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the seal was never recorded")
		}
	}
	if restarted := open(t, b, true); restarted.Status().State != StateSealed {
		t.Error("the seal did not survive a restart")
	}
}

func TestOutageDoesNotSealOrDropKeys(t *testing.T) {
	f := &faulty{Backend: memory.New()}
	s, _ := unsealedOn(t, f)
	if _, err := s.Create(t.Context(), path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	f.down.Store(true)
	if err := lifecycle.Refresh(t.Context(), s.Lifecycle); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("refresh: %v", err)
	}
	_, err := s.Get(t.Context(), path(t, "a"), store.Cached)
	wantErr(t, "Get", err, store.ErrUnavailable)
	if st := s.Status(); st.State != StateUnsealed {
		t.Errorf("state %v", st.State)
	}
	f.down.Store(false)
	if got, err := s.Get(t.Context(), path(t, "a"), store.Cached); err != nil || string(got.Value) != "v" {
		t.Errorf("after the outage: %v", err)
	}
}

func TestServerStartedDuringAnOutageUnsealsAfterIt(t *testing.T) {
	f := &faulty{Backend: memory.New()}
	f.down.Store(true)
	s := open(t, f, true)
	if st := s.Status(); st.State != StateUnknown || !st.Sealed() {
		t.Fatalf("%+v", st)
	}
	_, err := s.Get(t.Context(), path(t, "a"), store.Cached)
	wantErr(t, "Get", err, store.ErrUnavailable)
	f.down.Store(false)
	if err := lifecycle.Refresh(t.Context(), s.Lifecycle); err != nil || s.Status().State != StateUnsealed {
		t.Errorf("%+v, %v", s.Status(), err)
	}
}

// TestCrashDuringInitLeavesNothingOrACompleteStore fails the write of Init, with
// and without effect.
func TestCrashDuringInitLeavesNothingOrACompleteStore(t *testing.T) {
	for _, persisted := range []bool{false, true} {
		b := memory.New()
		f := &faulty{Backend: b}
		fail := func([]store.Op) (bool, error) { return persisted, store.ErrOutcomeUnknown }
		f.apply.Store(&fail)
		s := open(t, f, false)
		_, err := s.Init(t.Context(), InitParams{Shares: 1, Threshold: 1, PGPKeys: []string{holderPublic(t)}})
		wantErr(t, "Init", err, store.ErrOutcomeUnknown)
		restarted := open(t, b, false)
		want := StateUninitialized
		if persisted {
			want = StateSealed
		}
		if st := restarted.Status(); st.State != want {
			t.Fatalf("persisted=%v: state %v, want %v", persisted, st.State, want)
		}
		if !persisted {
			continue
		}
		info, err := restarted.InitInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := restarted.Unseal(t.Context(), []byte(unsealKeyOf(t, info))); err != nil {
			t.Errorf("a store whose Init lost its reply does not unseal: %v", err)
		}
	}
}

// TestPartlyWrittenValuesAreNeverVisible fails each transaction of a large value
// in turn.
func TestPartlyWrittenValuesAreNeverVisible(t *testing.T) {
	value := bytes.Repeat([]byte("0123456789abcdef"), 40<<10) // 5 pieces
	for failAt := range 8 {
		for _, persisted := range []bool{false, true} {
			f := &faulty{Backend: memory.New()}
			s, _ := unsealedOn(t, f)
			var n atomic.Int64
			decide := func([]store.Op) (bool, error) {
				if n.Add(1) == int64(failAt+1) {
					return persisted, store.ErrOutcomeUnknown
				}
				return true, nil
			}
			f.apply.Store(&decide)
			_, writeErr := s.Create(t.Context(), path(t, "large"), Change{Kind: Binary, Value: value})
			f.apply.Store(nil)
			got, err := s.Get(t.Context(), path(t, "large"), store.Latest)
			switch {
			case err == nil && !bytes.Equal(got.Value, value):
				t.Errorf("write %d fails (persisted %v): a part of a value is visible", failAt, persisted)
			case writeErr == nil && err != nil:
				t.Errorf("write %d fails (persisted %v): acknowledged, but then %v", failAt, persisted, err)
			case err != nil && !errors.Is(err, ErrNotFound):
				t.Errorf("write %d fails (persisted %v): %v", failAt, persisted, err)
			}
			s.Close()
		}
	}
}

func TestNothingIsDecryptedAfterSealReturns(t *testing.T) {
	s, _, key := unsealed(t)
	ctx := t.Context()
	if _, err := s.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	var sealedNow atomic.Bool
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := sealedNow.Load()
				_, err := s.Get(ctx, path(t, "a"), store.Cached)
				if before && sealedNow.Load() && err == nil {
					t.Error("a value was read after Seal had returned")
					return
				}
			}
		})
	}
	for range 50 {
		if _, err := s.Seal(ctx, "root"); err != nil {
			t.Fatal(err)
		}
		sealedNow.Store(true)
		time.Sleep(time.Millisecond)
		sealedNow.Store(false)
		if _, err := s.Unseal(ctx, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
}

func TestConcurrentUpdatesOfOneSecretAllTakeEffect(t *testing.T) {
	a, b, key := unsealed(t)
	other := open(t, b, false)
	ctx := t.Context()
	if _, err := other.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 8 {
		s := []*Store{a, other}[i%2]
		writers.Go(func() {
			for range 10 {
				if _, err := s.Update(ctx, path(t, "a"), text(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if got, err := other.Get(ctx, path(t, "a"), store.Latest); err != nil || got.Version != 81 {
		t.Errorf("version %d, %v; want 81", got.Version, err)
	}
}

func TestNamesOfEveryLengthAreListed(t *testing.T) {
	s, _, _ := unsealed(t)
	ctx := t.Context()
	var want []string
	for n := 1; n <= 255; n += 15 {
		name := strings.Repeat("n", n)
		want = append(want, name)
		if _, err := s.Create(ctx, path(t, name), text("v")); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	deep := strings.Repeat("d/", 31) + "leaf"
	want = append(want, deep)
	if _, err := s.Create(ctx, path(t, deep), text("v")); err != nil {
		t.Fatal(err)
	}
	got, err := s.List(ctx, acl.Path{}, Page{}, store.Cached)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if !slices.Equal(want, got.Names) {
		t.Errorf("%d names written, %d listed", len(want), len(got.Names))
	}
}
