package seal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/lifecycle"
	"secretstore/store"
	"secretstore/store/memory"
)

// sharesOf decrypts wrapped shares, all of which belong to the test holder.
func sharesOf(t *testing.T, keys []string) []string {
	t.Helper()
	var out []string
	for _, key := range keys {
		message, err := hex.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		share, err := holder.Unwrap(message)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(share))
	}
	return out
}

// sameHolder returns the parameters for n shares that all belong to the test
// holder.
func sameHolder(t *testing.T, n, threshold int) InitParams {
	t.Helper()
	p := InitParams{Shares: n, Threshold: threshold}
	for range n {
		p.PGPKeys = append(p.PGPKeys, holderPublic(t))
	}
	return p
}

func TestThresholdOfHoldersUnseals(t *testing.T) {
	ctx := t.Context()
	s := open(t, memory.New(), false)
	info, err := s.Init(ctx, sameHolder(t, 5, 3))
	if err != nil {
		t.Fatal(err)
	}
	all := sharesOf(t, info.Keys)
	steps := []struct {
		share    string
		want     error
		progress int
		sealed   bool
	}{
		{all[4], nil, 1, true},
		{all[4], nil, 1, true}, // the same share twice counts once
		{strings.Replace(all[1], all[1][:2], "03", 1), ErrWrongKey, 1, true},
		{"xyz", ErrBadKey, 1, true},
		{all[0], nil, 2, true},
		{all[2], nil, 0, false},
	}
	for i, step := range steps {
		st, err := s.Unseal(ctx, []byte(step.share))
		if !errors.Is(err, step.want) || st.Progress != step.progress || st.Sealed() != step.sealed {
			t.Fatalf("step %d: %+v, %v", i, st, err)
		}
	}
	if _, err := s.Seal(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	if st, err := s.Unseal(ctx, []byte(all[3])); err != nil || st.Progress != 1 {
		t.Fatalf("%+v, %v", st, err)
	}
	if st, err := s.ResetUnseal(ctx); err != nil || st.Progress != 0 {
		t.Fatalf("after reset: %+v, %v", st, err)
	}
}

func TestRekeyTakesEffectOnlyAfterNewHoldersProveTheirShares(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		s, b, oldKey := unsealed(t)
		ctx := t.Context()
		if _, err := s.Create(ctx, path(t, "a"), text("v")); err != nil {
			t.Fatal(err)
		}
		info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 3, 2), Rotate: rotate})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1)})
		wantErr(t, "second rekey", err, ErrRekeyUnderWay)
		// The old key is valid until the new holders have proved their shares.
		if other := open(t, b, false); true {
			if _, err := other.Unseal(ctx, []byte(oldKey)); err != nil {
				t.Fatalf("the old key does not unseal during the rekey: %v", err)
			}
		}
		fresh := sharesOf(t, info.Keys)
		_, err = s.VerifyRekey(ctx, "another", []byte(fresh[0]))
		wantErr(t, "another nonce", err, ErrNoRekey)
		_, err = s.VerifyRekey(ctx, info.Nonce, []byte(strings.Repeat("01", 33)))
		wantErr(t, "a wrong share", err, ErrWrongKey)
		if st, err := s.VerifyRekey(ctx, info.Nonce, []byte(fresh[2])); err != nil || !st.Active || st.Progress != 1 {
			t.Fatalf("%+v, %v", st, err)
		}
		if st, err := s.VerifyRekey(ctx, info.Nonce, []byte(fresh[0])); err != nil || st.Active {
			t.Fatalf("%+v, %v", st, err)
		}
		if st, err := s.RekeyStatus(ctx); err != nil || st.Active {
			t.Fatalf("after the rekey: %+v, %v", st, err)
		}
		if got, err := s.Get(ctx, path(t, "a"), store.Latest); err != nil || string(got.Value) != "v" {
			t.Fatalf("rotate %v: %v", rotate, err)
		}
		restarted := open(t, b, false)
		_, err = restarted.Unseal(ctx, []byte(oldKey))
		wantErr(t, "the old key after the rekey", err, ErrBadKey) // 64 digits are not one share among several
		for _, share := range fresh[1:] {
			if _, err := restarted.Unseal(ctx, []byte(share)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := restarted.Get(ctx, path(t, "a"), store.Latest); err != nil || string(got.Value) != "v" {
			t.Errorf("rotate %v: after a restart: %v", rotate, err)
		}
		s.Close()
		restarted.Close()
	}
}

func TestRekeyNeedsTheCurrentShares(t *testing.T) {
	ctx := t.Context()
	s := open(t, memory.New(), false)
	info, err := s.Init(ctx, sameHolder(t, 3, 2))
	if err != nil {
		t.Fatal(err)
	}
	all := sharesOf(t, info.Keys)
	for _, share := range all[:2] {
		if _, err := s.Unseal(ctx, []byte(share)); err != nil {
			t.Fatal(err)
		}
	}
	for _, current := range [][]string{nil, {all[0]}, {all[0], all[0]}} {
		info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Current: asBytes(current)})
		if err != nil || info.Approved || len(info.Keys) != 0 {
			t.Fatalf("%d shares: %+v, %v", len(current), info, err)
		}
		if err := s.CancelRekey(ctx, info.Nonce); err != nil {
			t.Fatal(err)
		}
	}
	rekey, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Current: [][]byte{[]byte(all[1]), []byte(all[2])}})
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "cancel of another", s.CancelRekey(ctx, "other"), ErrNoRekey)
	if err := s.CancelRekey(ctx, rekey.Nonce); err != nil {
		t.Fatal(err)
	}
	_, err = s.VerifyRekey(ctx, rekey.Nonce, []byte(sharesOf(t, rekey.Keys)[0]))
	wantErr(t, "verify after cancel", err, ErrNoRekey)
}

func TestForgedRekeyIsNotShownToHolders(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	node, err := b.Get(ctx, barrier.KeyRekey, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	// The attacker's own unseal key, wrapped for the genuine holder.
	forged, err := open(t, memory.New(), false).Init(ctx, sameHolder(t, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, barrier.KeyRekey, bytes.Replace(node.Data, []byte(info.Keys[0]), []byte(forged.Keys[0]), 1))
	_, err = s.RekeyStatus(ctx)
	wantErr(t, "status", err, ErrCorrupt)
	_, err = s.VerifyRekey(ctx, info.Nonce, []byte(sharesOf(t, forged.Keys)[0]))
	wantErr(t, "verify", err, ErrCorrupt)
	if err := s.CancelRekey(ctx, ""); err != nil {
		t.Errorf("a forged rekey cannot be removed: %v", err)
	}
}

func TestRekeyFromBootstrapRemovesTheBootstrapKey(t *testing.T) {
	b := memory.New()
	s := bootstrapped(t, b)
	ctx := t.Context()
	info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Rotate: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.VerifyRekey(ctx, info.Nonce, []byte(sharesOf(t, info.Keys)[0])); err != nil {
		t.Fatal(err)
	}
	if _, found := dump(t, b)[barrier.KeyBootstrap]; found || s.Status().HoldsBootstrapKey {
		t.Error("the bootstrap key is still there")
	}
	if _, err := s.Seal(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	_, err = s.AutoUnseal(ctx, "")
	wantErr(t, "auto-unseal", err, ErrNoBootstrapKey)
}

// settleRotation waits for the rotation to end: until the store has one data key.
func settleRotation(t *testing.T, s *Store) RotationInfo {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		info, err := s.RotationStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.Terms == 1 && info.State == "idle" {
			return info
		}
		if time.Now().After(deadline) {
			t.Fatalf("the rotation does not end: %+v", info)
		}
	}
}

func TestRotationReencryptsEverythingAndLosesNothing(t *testing.T) {
	s, b, key := unsealed(t)
	other := open(t, b, false)
	ctx := t.Context()
	if _, err := other.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"large": bytes.Repeat([]byte("l"), 300<<10)}
	for i := range 50 {
		want[fmt.Sprintf("f%d/s%d", i%5, i)] = []byte(fmt.Sprint("value ", i))
	}
	for p, v := range want {
		if _, err := s.Create(ctx, path(t, p), Change{Kind: Binary, Value: v}); err != nil {
			t.Fatal(err)
		}
	}
	before, err := s.Get(ctx, path(t, "f1/s1"), store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	// Both servers keep reading and writing.
	stop := make(chan struct{})
	var users sync.WaitGroup
	var writes atomic.Int64
	for _, user := range []*Store{s, other} {
		users.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				p := fmt.Sprintf("busy/%p-%d", user, i%7)
				v := []byte(fmt.Sprint(i))
				_, err := user.Create(ctx, path(t, p), Change{Kind: Binary, Value: v})
				if errors.Is(err, ErrExists) {
					_, err = user.Update(ctx, path(t, p), Change{Kind: Binary, Value: v})
				}
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := user.Get(ctx, path(t, p), store.Cached); err != nil || !bytes.Equal(got.Value, v) {
					t.Errorf("%s: %v", p, err)
					return
				}
				writes.Add(1)
			}
		})
	}
	if info, err := s.Rotate(ctx); err != nil || info.Term != 2 || info.Terms != 2 {
		t.Fatalf("%+v, %v", info, err)
	}
	info := settleRotation(t, s)
	close(stop)
	users.Wait()
	if info.Term != 2 || info.Total < 51 || info.Done != info.Total || writes.Load() == 0 {
		t.Errorf("%+v after %d writes", info, writes.Load())
	}
	for key, node := range dump(t, b) {
		if h, err := envelope.ParseHeader(node.Data); err == nil && h.Term != 0 && h.Term != 2 {
			t.Errorf("%s is under term %d", key, h.Term)
		}
	}
	for p, v := range want {
		for _, user := range []*Store{s, other} {
			if got, err := user.Get(ctx, path(t, p), store.Latest); err != nil || !bytes.Equal(got.Value, v) {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
	after, err := s.Get(ctx, path(t, "f1/s1"), store.Latest)
	if err != nil || after.ID != before.ID || after.Version != before.Version {
		t.Errorf("the rotation changed the value id or version: %+v then %+v, %v", before, after, err)
	}
}

func TestOtherServersPickUpANewRootKey(t *testing.T) {
	a, b, key := unsealed(t)
	other := open(t, b, false)
	ctx := t.Context()
	if _, err := other.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	awaitRecipients(t, a, 2)
	if _, _, err := rotateRoot(t, a, false); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Create(ctx, path(t, "a"), text("v")); err != nil {
		t.Errorf("the other server did not pick up the new root key: %v", err)
	}
	if got, err := a.Get(ctx, path(t, "a"), store.Latest); err != nil || string(got.Value) != "v" {
		t.Error(err)
	}
	settleRotation(t, a)
	if err := lifecycle.Refresh(ctx, other.Lifecycle); err != nil || other.Status().State != StateUnsealed {
		t.Errorf("%v, %v", other.Status(), err)
	}
}

// TestServerThatMissedARootKeySealsItself: the server cannot distinguish the new
// root key from an attacker's, so it needs a restart.
func TestServerThatMissedARootKeySealsItself(t *testing.T) {
	a, b, key := unsealed(t)
	f := &faulty{Backend: b}
	other := open(t, f, false)
	ctx := t.Context()
	if _, err := other.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	f.down.Store(true)
	for range 2 {
		info, err := a.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Rotate: true})
		if err != nil {
			t.Fatal(err)
		}
		key = sharesOf(t, info.Keys)[0]
		if _, err := a.VerifyRekey(ctx, info.Nonce, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	f.down.Store(false)
	if err := lifecycle.Refresh(ctx, other.Lifecycle); err != nil || other.Status().State != StateSealed {
		t.Fatalf("%+v, %v", other.Status(), err)
	}
	_, err := other.Unseal(ctx, []byte(key))
	wantErr(t, "unseal", err, ErrOtherRoot)
	wantErr(t, "unseal", err, ErrDamaged)
	if st, err := open(t, b, false).Unseal(ctx, []byte(key)); err != nil || st.State != StateUnsealed {
		t.Errorf("after a restart: %+v, %v", st, err)
	}
}

// TestCrashAtAnyWriteOfRekeyAndRotation stops the server at each of its writes,
// with and without effect. Holders must still be able to unseal, and every secret
// must be readable.
func TestCrashAtAnyWriteOfRekeyAndRotation(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		for failAt := 1; ; failAt++ {
			reached := crashOnce(t, rotate, failAt, false)
			crashOnce(t, rotate, failAt, true)
			if !reached {
				if failAt < 3 {
					t.Fatalf("only %d writes were seen", failAt-1)
				}
				break
			}
		}
	}
}

// crashOnce runs a rekey and lets no transaction succeed from the failAt-th on.
// It reports whether there were that many.
func crashOnce(t *testing.T, rotate bool, failAt int, persisted bool) bool {
	t.Helper()
	ctx := t.Context()
	b := memory.New()
	f := &faulty{Backend: b}
	s, oldKey := unsealedOn(t, f)
	paths := []string{"a", "f/b", "f/large"}
	for _, p := range paths {
		value := []byte("value of " + p)
		if strings.HasSuffix(p, "large") {
			value = bytes.Repeat(value, 20000)
		}
		if _, err := s.Create(ctx, path(t, p), Change{Kind: Binary, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	var n atomic.Int64
	decide := func([]store.Op) (bool, error) {
		switch k := n.Add(1); {
		case k < int64(failAt):
			return true, nil
		case k == int64(failAt):
			return persisted, store.ErrOutcomeUnknown
		default:
			return false, store.ErrUnavailable // the server is dead
		}
	}
	f.apply.Store(&decide)
	var newShares []string
	info, err := s.StartRekey(ctx, RekeyParams{InitParams: sameHolder(t, 1, 1), Rotate: rotate})
	if err == nil {
		newShares = sharesOf(t, info.Keys)
		_, err = s.VerifyRekey(ctx, info.Nonce, []byte(newShares[0]))
	}
	if err == nil && rotate {
		waitUntilIdleOrDead(s, &n, failAt)
	}
	reached := n.Load() >= int64(failAt)
	s.Close()

	restarted := open(t, b, false)
	current, err := restarted.InitInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	opens := 0
	for _, share := range append([]string{oldKey}, append(newShares, sharesOf(t, current.Keys)...)...) {
		trial := open(t, b, false)
		if st, err := trial.Unseal(ctx, []byte(share)); err == nil && st.State == StateUnsealed {
			opens++
			wantAllReadable(t, trial, paths)
		}
		trial.Close()
	}
	if opens == 0 {
		t.Errorf("rotate %v, write %d (persisted %v): no share unseals", rotate, failAt, persisted)
	}
	restarted.Close()
	return reached
}

// wantAllReadable checks that paths names exactly the secrets in the store, and
// that each can be read.
func wantAllReadable(t *testing.T, s *Store, paths []string) {
	t.Helper()
	for _, p := range paths {
		got, err := s.Get(t.Context(), path(t, p), store.Latest)
		if err != nil || !bytes.HasPrefix(got.Value, []byte("value of "+p)) {
			t.Errorf("%s is lost: %v", p, err)
		}
	}
	if names, err := s.List(t.Context(), acl.Path{}, Page{}, store.Latest); err != nil || len(names.Names) != len(paths) {
		t.Errorf("list: %v, %v", names.Names, err)
	}
}

// waitUntilIdleOrDead waits until the rotation has ended, or the failAt-th
// transaction was seen.
func waitUntilIdleOrDead(s *Store, n *atomic.Int64, failAt int) {
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if n.Load() >= int64(failAt) {
			return
		}
		if info, err := s.RotationStatus(context.Background()); err == nil && info.Terms == 1 {
			return
		}
	}
}

func TestRecoverReadsASealedStore(t *testing.T) {
	s, b, key := unsealed(t)
	ctx := t.Context()
	large := bytes.Repeat([]byte("l"), 300<<10)
	for p, v := range map[string][]byte{"a": []byte("v"), "f/large": large} {
		if _, err := s.Create(ctx, path(t, p), Change{Kind: Binary, Value: v}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Seal(ctx, "root"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	before := dump(t, b)
	_, err := Recover(ctx, b, []string{strings.Repeat("ab", 32)})
	wantErr(t, "another key", err, ErrWrongKey)
	_, err = Recover(ctx, b, nil)
	wantErr(t, "no key", err, ErrBadKey)
	r, err := Recover(ctx, b, []string{key})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	names, err := r.List(ctx, acl.Path{}, Page{}, store.Latest)
	if err != nil || strings.Join(names.Names, " ") != "a f/large" {
		t.Errorf("%v, %v", names.Names, err)
	}
	if got, err := r.Get(ctx, path(t, "f/large"), store.Latest); err != nil || !bytes.Equal(got.Value, large) {
		t.Error(err)
	}
	if after := dump(t, b); len(after) != len(before) {
		t.Error("Recover changed the storage")
	}
	_, err = Recover(ctx, memory.New(), []string{key})
	wantErr(t, "an empty storage", err, ErrUninitialized)
}

func TestKeysReportNamesHoldersAndWarnsOfExpiry(t *testing.T) {
	s, _, _ := unsealed(t)
	report, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Holders) != 1 || report.Terms != 1 || report.HoldsBootstrapKey || report.RekeyUnderWay {
		t.Fatalf("%+v", report)
	}
	h := report.Holders[0]
	if h.Fingerprint != holder.Fingerprint() || h.Algorithm != "RSA 4096" || h.UserID != "Secret Store bootstrap" || !h.Expires.IsZero() || h.Problem != "" {
		t.Errorf("%+v", h)
	}
	now := time.Now()
	rows := map[time.Duration]string{
		90 * 24 * time.Hour: "", 59 * 24 * time.Hour: "60 days", 29 * 24 * time.Hour: "30 days", 6 * 24 * time.Hour: "7 days", -time.Hour: "has expired",
	}
	for left, want := range rows {
		got := Holder{Expires: now.Add(left)}.ExpiryWarning(now)
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%v left: %q, want %q", left, got, want)
		}
	}
}

// TestForgedRotationRecordRemovesNoKey: the record in the clear claims that all is
// moved and verified. The old data key stays until a sweep has found that to be so.
func TestForgedRotationRecordRemovesNoKey(t *testing.T) {
	s, b, _ := unsealed(t)
	ctx := t.Context()
	for i := range 20 {
		if err := errOf(s.Create(ctx, path(t, fmt.Sprintf("f%d/a", i)), text("v"))); err != nil {
			t.Fatal(err)
		}
	}
	put(t, b, barrier.KeyRotation, []byte(`{"format":1,"owner":"","beat":9,"term":2,"records_total":20,"records_done":20,"verify":true}`))
	if _, err := s.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	settleRotation(t, s)
	for key, node := range dump(t, b) {
		if h, err := envelope.ParseHeader(node.Data); err == nil && h.Term != 0 && h.Term != 2 {
			t.Errorf("%s is under term %d", key, h.Term)
		}
	}
	for i := range 20 {
		if got, err := s.Get(ctx, path(t, fmt.Sprintf("f%d/a", i)), store.Latest); err != nil || string(got.Value) != "v" {
			t.Errorf("f%d/a: %q, %v", i, got.Value, err)
		}
	}
}
