package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/lifecycle"
	"secretstore/seal/internal/mode"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// openWithMode opens a store on a server with this security mode.
func openWithMode(t *testing.T, b store.Backend, bootstrap bool, own Mode, chosen bool) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Backend: b, Bootstrap: bootstrap, Mode: own, ModeChosen: chosen, GenerateKey: sealtest.GenerateKey,
		Log: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// recordedMode returns the mode that the record names, genuine or not; 0 if there is
// none.
func recordedMode(t *testing.T, b store.Backend) Mode {
	t.Helper()
	node, err := b.Get(t.Context(), barrier.KeyMode, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return mode.ParseRecord(node.Data).Claimed()
}

// isUnfit reports whether s has found out that it should end.
func isUnfit(s *Store) bool {
	select {
	case <-s.Unfit():
		return true
	default:
		return false
	}
}

func refreshed(t *testing.T, s *Store) Status {
	t.Helper()
	if err := lifecycle.Refresh(t.Context(), s.Lifecycle); err != nil {
		t.Fatal(err)
	}
	return s.Status()
}

// TestUpgradesBetweenSecurityModes starts a server with each mode, chosen or not, on
// a store that remembers each mode, or none.
func TestUpgradesBetweenSecurityModes(t *testing.T) {
	for _, bootstrap := range []bool{false, true} {
		for recorded := Mode(0); recorded <= ModeStrict; recorded++ {
			for own := ModeDisabled; own <= ModeStrict; own++ {
				for _, chosen := range []bool{false, true} {
					t.Run(fmt.Sprintf("%v to %v, chosen %v, bootstrap %v", recorded, own, chosen, bootstrap), func(t *testing.T) {
						t.Parallel()
						upgrade(t, recorded, own, chosen, bootstrap)
					})
				}
			}
		}
	}
}

func upgrade(t *testing.T, recorded, own Mode, chosen, bootstrap bool) {
	ctx := t.Context()
	b := memory.New()
	first := openWithMode(t, b, bootstrap, recorded, recorded != 0)
	var key string
	if bootstrap {
		await(t, first, isUnsealed)
	} else {
		info, err := first.Init(ctx, sameHolder(t, 1, 1))
		if err != nil {
			t.Fatal(err)
		}
		if got := recordedMode(t, b); got != 0 {
			t.Fatalf("%v is recorded before the first unseal", got)
		}
		key = sharesOf(t, info.Keys)[0]
		if _, err := first.Unseal(ctx, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	if got := recordedMode(t, b); got != recorded {
		t.Fatalf("%v is recorded, %v was chosen", got, recorded)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	s := openWithMode(t, b, bootstrap, own, chosen)
	lower := own < recorded
	if !bootstrap {
		if st := s.Status(); isUnfit(s) || st.ModeProblem != "" || (st.ModeWarning != "") != lower {
			t.Fatalf("before the unseal: %+v, unfit %v", st, isUnfit(s))
		}
		_, err := s.Unseal(ctx, []byte(key))
		var refused *LowerModeError
		if errors.As(err, &refused) != lower || lower && (refused.Own != own || refused.Recorded != recorded) {
			t.Fatalf("unseal: %v", err)
		}
	} else if !lower {
		await(t, s, isUnsealed)
	}
	st := s.Status()
	if isUnfit(s) != lower || st.Sealed() != lower || (st.ModeProblem != "") != lower || st.ModeWarning != "" {
		t.Errorf("%+v, unfit %v", st, isUnfit(s))
	}
	want := recorded
	if chosen && own > recorded {
		want = own
	}
	if got := recordedMode(t, b); got != want {
		t.Errorf("%v is recorded now, want %v", got, want)
	}
}

// TestServersWithALowerModeSealWhenItIsRaised: of two servers with different modes,
// the lower one seals as soon as the store remembers the mode of the other, stays
// sealed, and leaves the store open for the other.
func TestServersWithALowerModeSealWhenItIsRaised(t *testing.T) {
	for _, bootstrap := range []bool{false, true} {
		ctx := t.Context()
		b := memory.New()
		low := openWithMode(t, b, bootstrap, ModePermissive, false)
		var key string
		if bootstrap {
			await(t, low, isUnsealed)
		} else {
			info, err := low.Init(ctx, sameHolder(t, 1, 1))
			if err != nil {
				t.Fatal(err)
			}
			key = sharesOf(t, info.Keys)[0]
			if _, err := low.Unseal(ctx, []byte(key)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errOf(low.Create(ctx, path(t, "a"), text("v"))); err != nil {
			t.Fatal(err)
		}
		high := openWithMode(t, b, bootstrap, ModeStrict, true)
		if bootstrap {
			await(t, high, isUnsealed)
		} else if _, err := high.Unseal(ctx, []byte(key)); err != nil {
			t.Fatal(err)
		}
		// No refresh: the change arrives by the watch.
		await(t, low, func(st State) bool { return st == StateSealed })
		for range 2 {
			st := refreshed(t, low)
			if st.State != StateSealed || !strings.Contains(st.ModeProblem, "permissive") || !strings.Contains(st.ModeProblem, "--security-mode strict") || st.SealedBy != "" {
				t.Errorf("the lower server: %+v", st)
			}
		}
		var refused *LowerModeError
		if bootstrap {
			_, err := low.AutoUnseal(ctx, "")
			if !errors.As(err, &refused) {
				t.Errorf("AutoUnseal: %v", err)
			}
		} else if _, err := low.Unseal(ctx, []byte(key)); !errors.As(err, &refused) {
			t.Errorf("Unseal: %v", err)
		}
		if _, err := low.Get(ctx, path(t, "a"), store.Latest); !errors.Is(err, ErrSealed) {
			t.Errorf("the lower server reads: %v", err)
		}
		if isUnfit(low) {
			t.Error("a server that has served should stay, to say why it is sealed")
		}
		if st := refreshed(t, high); st.State != StateUnsealed || st.ModeProblem != "" || st.ModeWarning != "" {
			t.Errorf("the higher server: %+v", st)
		}
		if err := errOf(high.Update(ctx, path(t, "a"), text("v2"))); err != nil {
			t.Error(err)
		}
	}
}

// TestForgedModeRecordStopsNoServer: whatever a writer of the storage puts in the
// place of the record, a server starts, warns, and unseals. One whose mode was
// chosen replaces it.
func TestForgedModeRecordStopsNoServer(t *testing.T) {
	b := memory.New()
	first, key := unsealedOn(t, b)
	uuid := first.Status().UUID
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	strict := mode.Encode(ModeStrict, uuid, envelope.NewKey())
	for name, forged := range map[string][]byte{
		"junk":             []byte("junk"),
		"no record":        []byte("null"),
		"no MAC":           edit(t, strict, map[string]any{"mac": nil}),
		"wrong MAC":        strict,
		"unknown mode":     edit(t, strict, map[string]any{"mode": "strictest"}),
		"huge":             bytes.Repeat([]byte(" "), store.MaxData),
		"a later release":  edit(t, strict, map[string]any{"format": 2}),
		"of another store": mode.Encode(ModeStrict, "another", envelope.NewKey()),
	} {
		t.Run(name, func(t *testing.T) {
			put(t, b, barrier.KeyMode, forged)
			s := openWithMode(t, b, false, ModePermissive, false)
			claims := mode.ParseRecord(forged).Claimed() == ModeStrict
			if st := s.Status(); st.State != StateSealed || st.ModeProblem != "" || (st.ModeWarning != "") != claims {
				t.Errorf("sealed: %+v", st)
			}
			if st, err := s.Unseal(t.Context(), []byte(key)); err != nil || st.Sealed() || st.ModeWarning == "" || isUnfit(s) {
				t.Errorf("unsealed: %+v, %v", st, err)
			}
			if got := record(t, b, barrier.KeyMode); !bytes.Equal(got, forged) {
				t.Error("a server whose mode nobody has chosen has replaced the record")
			}
			chosen := openWithMode(t, b, false, ModePermissive, true)
			if _, err := chosen.Unseal(t.Context(), []byte(key)); err != nil {
				t.Fatal(err)
			}
			if newer := mode.ParseRecord(forged).Newer(); newer {
				if got := record(t, b, barrier.KeyMode); !bytes.Equal(got, forged) {
					t.Error("the record of a later release was replaced")
				}
				return
			}
			if got := recordedMode(t, b); got != ModePermissive {
				t.Errorf("%v is recorded", got)
			}
			for _, at := range []*Store{s, chosen} {
				if st := refreshed(t, at); st.State != StateUnsealed || st.ModeWarning != "" {
					t.Errorf("after it was replaced: %+v", st)
				}
			}
		})
	}
}

// TestModeRecordThatCannotBeUsedStopsNoServer: an ACL of somebody else is on it.
func TestModeRecordThatCannotBeUsedStopsNoServer(t *testing.T) {
	b := newForbidding()
	first, key := unsealedOn(t, b)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, b, barrier.KeyMode, []byte("of somebody else"))
	b.forbid(barrier.KeyMode, true)
	for _, chosen := range []bool{false, true} {
		s := openWithMode(t, b, false, ModePermissive, chosen)
		if st, err := s.Unseal(t.Context(), []byte(key)); err != nil || st.Sealed() {
			t.Fatalf("%+v, %v", st, err)
		}
		if st := refreshed(t, s); st.State != StateUnsealed || st.ModeWarning == "" || isUnfit(s) {
			t.Errorf("%+v", st)
		}
	}
}

// TestRunningServerGoesByTheHighestModeThatItHasSeen: a writer of the storage removes
// the record, or puts an older genuine one back.
func TestRunningServerGoesByTheHighestModeThatItHasSeen(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	low := openWithMode(t, b, false, ModePermissive, true)
	info, err := low.Init(ctx, sameHolder(t, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	key := sharesOf(t, info.Keys)[0]
	if _, err := low.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	permissive := record(t, b, barrier.KeyMode)
	raising := openWithMode(t, b, false, ModeStrict, true)
	if _, err := raising.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	await(t, low, func(st State) bool { return st == StateSealed })
	// A server that does not write the record: its mode was not chosen.
	follower := openWithMode(t, b, false, ModeStrict, false)
	if _, err := follower.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	if err := raising.Close(); err != nil {
		t.Fatal(err)
	}
	remove := func() {
		node, err := b.Get(ctx, barrier.KeyMode, store.Latest)
		if err == nil {
			_, err = b.Apply(ctx, store.Delete(barrier.KeyMode, node.Version))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(){"put back": func() { put(t, b, barrier.KeyMode, permissive) }, "removed": remove} {
		put(t, b, barrier.KeyMode, permissive)
		change()
		if st := refreshed(t, follower); st.State != StateUnsealed || st.ModeWarning == "" {
			t.Errorf("%s: %+v; want a warning", name, st)
		}
		var refused *LowerModeError
		if _, err := low.Unseal(ctx, []byte(key)); !errors.As(err, &refused) || refused.Recorded != ModeStrict {
			t.Errorf("%s: the lower server unseals: %v", name, err)
		}
	}
	again := openWithMode(t, b, false, ModeStrict, true)
	if _, err := again.Unseal(ctx, []byte(key)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := recordedMode(t, b); got != ModeStrict {
			t.Errorf("%v is recorded", got)
		}
		if st := refreshed(t, follower); st.State != StateUnsealed || st.ModeWarning != "" {
			t.Errorf("after it is there again: %+v", st)
		}
		remove() // while a server runs that has chosen it
		refreshed(t, again)
	}
}

// TestModeIsRememberedUnderANewRootKey: a rekey with a rotation leaves the record
// genuine, on the server that does it and on the others.
func TestModeIsRememberedUnderANewRootKey(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	s := openWithMode(t, b, false, ModeStrict, true)
	info, err := s.Init(ctx, sameHolder(t, 1, 1))
	if err != nil {
		t.Fatal(err)
	}
	key := sharesOf(t, info.Keys)[0]
	other := openWithMode(t, b, false, ModeStrict, false)
	for _, at := range []*Store{s, other} {
		if _, err := at.Unseal(ctx, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	awaitRecipients(t, s, 2)
	before := record(t, b, barrier.KeyMode)
	key, _, err = rotateRoot(t, s, false)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(record(t, b, barrier.KeyMode), before) {
		t.Error("the record has the MAC of the old root key")
	}
	for _, at := range []*Store{s, other} {
		if st := refreshed(t, at); st.State != StateUnsealed || st.ModeWarning != "" {
			t.Errorf("%+v", st)
		}
	}
	low := openWithMode(t, b, false, ModePermissive, false)
	var refused *LowerModeError
	if _, err := low.Unseal(ctx, []byte(key)); !errors.As(err, &refused) {
		t.Errorf("a lower server unseals under the new root key: %v", err)
	}
}

// noMode is a storage that takes no record of the mode while it is set.
type noMode struct {
	*memory.Backend
	set atomic.Bool
}

func (b *noMode) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	for _, op := range ops {
		if op.Key == barrier.KeyMode && b.set.Load() {
			return nil, store.ErrNoWrites
		}
	}
	return b.Backend.Apply(ctx, ops...)
}

// TestModeThatCannotBeRecordedStopsNoUnseal: it is recorded later.
func TestModeThatCannotBeRecordedStopsNoUnseal(t *testing.T) {
	b := &noMode{Backend: memory.New()}
	b.set.Store(true)
	s := openWithMode(t, b, true, ModeStrict, true)
	await(t, s, isUnsealed)
	if err := errOf(s.Create(t.Context(), path(t, "a"), text("v"))); err != nil {
		t.Error(err)
	}
	if got := recordedMode(t, b); got != 0 {
		t.Fatalf("%v is recorded", got)
	}
	b.set.Store(false)
	for deadline := time.Now().Add(time.Minute); recordedMode(t, b) != ModeStrict; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is never recorded")
		}
	}
}
