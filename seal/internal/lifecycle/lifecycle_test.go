package lifecycle

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/internal/holders"
	"secretstore/seal/internal/records"
	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// open returns a life cycle that has read the storage once. Nothing runs in the
// background.
func open(t *testing.T, b store.Backend, bootstrap bool) *Lifecycle {
	t.Helper()
	l := New(Config{Backend: b, Barrier: barrier.New(b, false, zap.NewNop()), Bootstrap: bootstrap,
		BootstrapKeyStore: bootstrapkey.InStorage(b, sealtest.GenerateKey), KeyringChanged: func() {}, Log: zap.NewNop()})
	if err := Refresh(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	return l
}

// holdersParams returns the parameters of an init or a rekey for n holders with one key.
func holdersParams(t *testing.T, n int) InitParams {
	t.Helper()
	public, err := sealtest.Key(sealtest.Holder).Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := public.Export()
	if err != nil {
		t.Fatal(err)
	}
	p := InitParams{Shares: n, Threshold: n}
	for range n {
		p.PGPKeys = append(p.PGPKeys, text)
	}
	return p
}

// shareOf decrypts a wrapped key.
func shareOf(t *testing.T, wrapped string) string {
	t.Helper()
	message, err := hex.DecodeString(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	share, err := sealtest.Key(sealtest.Holder).Unwrap(message)
	if err != nil {
		t.Fatal(err)
	}
	return string(share)
}

// initialized returns a sealed store for one holder, and its unseal key.
func initialized(t *testing.T, b store.Backend) (*Lifecycle, string) {
	t.Helper()
	l := open(t, b, false)
	info, err := l.Init(t.Context(), holdersParams(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	return l, shareOf(t, info.Keys[0])
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: err = %v, want %v", what, err, want)
	}
}

func put(t *testing.T, b store.Backend, key store.Key, data []byte) {
	t.Helper()
	node, err := b.Get(t.Context(), key, store.Latest)
	op := store.Set(key, data, node.Version)
	if errors.Is(err, store.ErrNotFound) {
		op = store.Create(key, data)
	} else if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

func TestSharesThatWaitTooLongAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // the clock starts in 2000, when the keys were not made yet
		l := open(t, memory.New(), false)
		info, err := l.Init(t.Context(), holdersParams(t, 2))
		if err != nil {
			t.Fatal(err)
		}
		if st, err := l.Unseal(t.Context(), []byte(shareOf(t, info.Keys[0]))); err != nil || st.Progress != 1 {
			t.Fatalf("%+v, %v", st, err)
		}
		time.Sleep(holders.SharePause)
		l.unsealing.Expire()
		if n := l.Status().Progress; n != 1 {
			t.Errorf("forgotten too early: progress %d", n)
		}
		time.Sleep(time.Second)
		l.unsealing.Expire()
		if n := l.Status().Progress; n != 0 {
			t.Errorf("progress %d", n)
		}
	})
}

func TestHandoverRecordIsRemovedAWhileAfterItWasSeen(t *testing.T) {
	b := memory.New()
	l, key := initialized(t, b)
	ctx := t.Context()
	if _, err := l.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	info, err := l.StartRekey(ctx, RekeyParams{InitParams: holdersParams(t, 1), Rotate: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.VerifyRekey(ctx, info.Nonce, []byte(shareOf(t, info.Keys[0]))); err != nil {
		t.Fatal(err)
	}
	if err := Refresh(ctx, l); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, barrier.KeyHandover, store.Latest); err != nil {
		t.Fatalf("the handover record: %v", err)
	}
	l.turn <- struct{}{}
	l.handover.since = time.Now().Add(-2 * handoverLife)
	<-l.turn
	if err := Refresh(ctx, l); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(ctx, barrier.KeyHandover, store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the handover record stays: %v", err)
	}
}

func TestInitCannotBeReplacedTooLate(t *testing.T) {
	b := memory.New()
	l := open(t, b, false)
	p := holdersParams(t, 1)
	info, err := l.Init(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	l.newStore.at = l.newStore.at.Add(-replaceLife - time.Second)
	p.Replace = info.Keys[0]
	_, err = l.Init(t.Context(), p)
	wantErr(t, "Init", err, ErrNotReplaceable)
	after, err := l.InitInfo(t.Context())
	if err != nil || after.Keys[0] != info.Keys[0] {
		t.Errorf("the keys are others: %v", err)
	}
}

// TestStoreOfAnAttackerUnderTheSameUuidIsNotServed: an attacker who can write to
// the storage puts key records of their own in place, with a bootstrap key that
// opens them, and waits for the server to unseal itself and write values under
// them.
func TestStoreOfAnAttackerUnderTheSameUuidIsNotServed(t *testing.T) {
	b := memory.New()
	l := open(t, b, true)
	if st := l.Status(); st.State != StateUnsealed {
		t.Fatalf("%+v", st)
	}
	// The strongest form: the attacker's whole store, made under our uuid.
	for key, data := range forgedStore(t, l.Status().UUID) {
		put(t, b, key, data)
	}
	_ = Refresh(t.Context(), l)
	if st := l.Status(); st.State == StateUnsealed {
		t.Fatalf("unsealed under the attacker's keys: %+v", st)
	}
	cleanup := records.NewCleanup(b, l.barrier)
	reader := records.NewReader(b, l.barrier, records.NewPieces(b, l.barrier, cleanup))
	secrets := records.NewSecrets(reader, cleanup, records.NewGenerations(b, l.barrier), 100, 0)
	p, err := acl.ParsePath("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Create(t.Context(), p, records.Change{Kind: records.Text, Value: []byte("v")}); err == nil {
		t.Error("a value was written under the attacker's keys")
	}
}

// forgedStore makes the records of a store with a chosen uuid and another
// bootstrap key.
func forgedStore(t *testing.T, uuid string) map[store.Key][]byte {
	t.Helper()
	attackers := func() (*pgp.PrivateKey, error) { return sealtest.Key(sealtest.Other), nil }
	private, keep, err := bootstrapkey.InStorage(memory.New(), attackers).Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	public, err := private.Public(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	forged, err := newStoreRecords(uuid, []*pgp.PublicKey{public}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer forged.clear()
	out := map[store.Key][]byte{}
	for _, op := range append(forged.createOps(unsealedIntent(newNonce(), uuid, forged.root)), keep...) {
		out[op.Key] = op.Data
	}
	return out
}

// gate lets a test stop transactions at a point of its choice.
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

func TestSealDuringAnUnsealWins(t *testing.T) {
	g := &gate{Backend: memory.New()}
	l, key := initialized(t, g)
	ctx := t.Context()
	sealed := make(chan error, 1)
	var once atomic.Bool
	hold := func([]store.Op) {
		if once.Swap(true) {
			return
		}
		before := l.barrier.DropCount()
		go func() {
			_, err := l.Seal(ctx, "root")
			sealed <- err
		}()
		for l.barrier.DropCount() == before { // until it has dropped the keys
			time.Sleep(time.Millisecond)
		}
	}
	g.before.Store(&hold)
	_, err := l.Unseal(ctx, []byte(key))
	wantErr(t, "an unseal that a seal has overtaken", err, barrier.ErrSealed)
	if err := <-sealed; err != nil {
		t.Fatal(err)
	}
	if st := l.Status(); st.State != StateSealed || l.sealPending.Load() {
		t.Errorf("%+v, pending %v", st, l.sealPending.Load())
	}
	if restarted := open(t, g, false); !restarted.snapshot.Load().intent.Sealed {
		t.Error("the seal was not recorded")
	}
}

func TestSealOfADamagedStoreIsRemembered(t *testing.T) {
	b := memory.New()
	l := open(t, b, true)
	ctx := t.Context()
	node, err := b.Get(ctx, barrier.KeyKeyring, store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(ctx, store.Delete(barrier.KeyKeyring, node.Version)); err != nil {
		t.Fatal(err)
	}
	_, err = l.Seal(ctx, "root")
	wantErr(t, "seal of a damaged store", err, ErrSealNotRecorded)
	put(t, b, barrier.KeyKeyring, node.Data)
	l.unsealer.retrySealRecord(ctx)
	_ = Refresh(ctx, l)
	if st := l.Status(); st.State != StateSealed || !l.snapshot.Load().intent.Sealed {
		t.Errorf("the seal was forgotten: %+v", st)
	}
	recorded, err := b.Get(ctx, barrier.KeyIntent, store.Latest)
	if err != nil || !bytes.Contains(recorded.Data, []byte(`"sealed":true`)) {
		t.Errorf("recorded: %s, %v", recorded.Data, err)
	}
}

// TestApprovalsAreForgotten: shares of the present key do not stay in memory
// longer than the rekey needs them.
func TestApprovalsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // the clock starts in 2000, when the keys were not made yet
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		b := memory.New()
		l, other := open(t, b, false), open(t, b, false)
		info, err := l.Init(ctx, holdersParams(t, 4))
		if err != nil {
			t.Fatal(err)
		}
		unseal := func(l *Lifecycle) {
			t.Helper()
			if err := Refresh(ctx, l); err != nil {
				t.Fatal(err)
			}
			for _, key := range info.Keys {
				if _, err := l.Unseal(ctx, []byte(shareOf(t, key))); err != nil {
					t.Fatal(err)
				}
			}
			if st := l.Status(); st.Sealed() {
				t.Fatalf("%+v", st)
			}
		}
		unseal(l)
		unseal(other)
		go Follow(ctx, l)()
		nonce := ""
		propose := func() {
			t.Helper()
			proposed, err := l.StartRekey(ctx, RekeyParams{InitParams: holdersParams(t, 1)})
			if err != nil || proposed.Approved {
				t.Fatalf("%+v, %v", proposed, err)
			}
			nonce = proposed.Nonce
		}
		approve := func(i int) {
			t.Helper()
			if info, err := l.ApproveRekey(ctx, nonce, []byte(shareOf(t, info.Keys[i]))); err != nil || info.Approved {
				t.Fatalf("%+v, %v", info, err)
			}
		}
		// A little more than d, for Follow to do its work.
		after := func(d time.Duration, what string, want bool) {
			t.Helper()
			time.Sleep(d + 2*followEvery)
			synctest.Wait()
			if kept := !l.approving.Empty(); kept != want {
				t.Errorf("%s: shares are in memory: %v", what, kept)
			}
		}
		propose()
		approve(0)
		after(10*time.Minute, "after 10 minutes", true)
		approve(1)
		after(10*time.Minute, "10 minutes after another share", true)
		approve(1)
		after(5*time.Minute, "15 minutes after the newest share", false)
		approve(0)
		after(14*time.Minute, "14 minutes", true)
		approve(1)
		after(14*time.Minute, "28 minutes", true)
		approve(2)
		after(14*time.Minute, "42 minutes", true)
		time.Sleep(15 * time.Minute)
		approve(0)
		approve(1)
		after(0, "after a pause", true)

		if err := l.CancelRekey(ctx, nonce); err != nil {
			t.Fatal(err)
		}
		if !l.approving.Empty() {
			t.Error("shares stay after a cancel")
		}
		propose()
		approve(0)
		if err := other.CancelRekey(ctx, nonce); err != nil {
			t.Fatal(err)
		}
		after(0, "after a cancel on another server", false)
		propose()
		approve(0)
		if _, err := l.Seal(ctx, "root"); err != nil {
			t.Fatal(err)
		}
		if !l.approving.Empty() {
			t.Error("shares stay after a seal")
		}
		unseal(l)
		approve(0)
		if err := Refresh(ctx, other); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Seal(ctx, "root"); err != nil {
			t.Fatal(err)
		}
		after(0, "after a seal on another server", false)
	})
}

// TestApprovalsWaitAnHourAtMost: shares are entered every 10 minutes. Nothing but
// their age makes the server forget them: it does not follow the storage.
func TestApprovalsWaitAnHourAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour) // see TestApprovalsAreForgotten
		ctx := t.Context()
		l := open(t, memory.New(), false)
		info, err := l.Init(ctx, holdersParams(t, 8))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range info.Keys {
			if _, err := l.Unseal(ctx, []byte(shareOf(t, key))); err != nil {
				t.Fatal(err)
			}
		}
		proposed, err := l.StartRekey(ctx, RekeyParams{InitParams: holdersParams(t, 1)})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{1, 2, 3, 4, 5, 6, 1} {
			info, err := l.ApproveRekey(ctx, proposed.Nonce, []byte(shareOf(t, info.Keys[i])))
			if err != nil || info.Approvals != want {
				t.Errorf("after %d minutes: %+v, %v", 10*i, info, err)
			}
			time.Sleep(10*time.Minute + time.Second)
		}
	})
}
