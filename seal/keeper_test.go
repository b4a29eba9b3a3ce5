package seal

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/seal/pgp"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// TestBootstrapKeyThatARekeyHasLeftIsTold: one that was cut off before the file
// was removed leaves it for ever, and it opens older copies of the storage.
func TestBootstrapKeyThatARekeyHasLeftIsTold(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bootstrap.key")
	b := memory.New()
	start := func() (*Store, *observer.ObservedLogs) {
		core, logs := observer.New(zapcore.WarnLevel)
		s, err := Open(t.Context(), Options{Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, BootstrapKeyFile: file, Log: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s, logs
	}
	said := func(logs *observer.ObservedLogs) bool {
		return logs.Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, "opens nothing of this store") }).Len() > 0
	}
	told := func(s *Store) bool {
		core, logs := observer.New(zapcore.WarnLevel)
		if err := s.keeper.warn(t.Context(), zap.New(core), s.view.Load().config.Fingerprints); err != nil {
			t.Fatal(err)
		}
		return said(logs)
	}
	s, _ := start()
	await(t, s, isUnsealed)
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if told(s) {
		t.Error("a bootstrap key that is in use is told")
	}
	info, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.VerifyRekey(t.Context(), info.Nonce, sharesOf(t, info.Keys)[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the bootstrap key stays: %v", err)
	}
	if told(s) {
		t.Error("a bootstrap key that is not there is told")
	}
	if err := os.WriteFile(file, kept, 0o600); err != nil { // as after a crash
		t.Fatal(err)
	}
	_, logs := start()
	for deadline := time.Now().Add(time.Minute); !said(logs); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody is told of a bootstrap key that was left")
		}
	}
}

// TestTheBootstrapKeyIsParsedOnceForAnUnsealAndNotKept: parsing takes milliseconds
// of a start, and the key of a store that stays sealed does not stay in memory.
func TestTheBootstrapKeyIsParsedOnceForAnUnsealAndNotKept(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bootstrap.key")
	b := memory.New()
	inRecord, inFile := newInStorage(b, sealtest.GenerateKey), &inFile{path: file, generate: sealtest.GenerateKey}
	put := func(k keyKeeper) *pgp.PrivateKey {
		private, ops, err := k.prepare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Apply(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
		return private
	}
	for _, k := range []struct {
		keeper keyKeeper
		known  *knownKey
		remove func() error
	}{
		{inRecord, inRecord.known, func() error {
			node, err := b.Get(t.Context(), keyBootstrap, store.Latest)
			if err == nil {
				_, err = b.Apply(t.Context(), store.Delete(keyBootstrap, node.Version))
			}
			return err
		}},
		{inFile, &inFile.known, func() error { return os.Remove(file) }},
	} {
		look := func(want string) {
			t.Helper()
			if got, err := k.keeper.fingerprint(t.Context()); got != want || err != nil {
				t.Errorf("%T: %q, %v, want %q", k.keeper, got, err, want)
			}
		}
		load := func() *pgp.PrivateKey {
			t.Helper()
			private, err := k.keeper.load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return private
		}
		look("")
		key := put(k.keeper).Fingerprint()
		look(key)
		if parsed := k.known.fresh; parsed == nil || load() != parsed {
			t.Errorf("%T: what the look has parsed is not taken", k.keeper)
		}
		if k.known.fresh != nil {
			t.Errorf("%T: a key that was taken is kept", k.keeper)
		}
		if load().Fingerprint() != key {
			t.Errorf("%T: another key", k.keeper)
		}

		*k.known = knownKey{}
		look(key)
		look(key)
		if k.known.fresh != nil {
			t.Errorf("%T: a key that unseals nothing is kept", k.keeper)
		}
		*k.known = knownKey{}
		look(key)
		if err := k.remove(); err != nil {
			t.Fatal(err)
		}
		look("")
		if _, err := k.keeper.load(t.Context()); !errors.Is(err, ErrNoBootstrapKey) {
			t.Errorf("%T: a key that was removed: %v", k.keeper, err)
		}
	}
}

// keyReads has the reads of the bootstrap key go through a function.
type keyReads struct {
	*memory.Backend
	read func(get func() (store.Node, error)) (store.Node, error) // nil: as they are
}

func (b *keyReads) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	get := func() (store.Node, error) { return b.Backend.Get(ctx, key, c) }
	if key == keyBootstrap && b.read != nil {
		return b.read(get)
	}
	return get()
}

// TestAServerUnsealsAStoreThatAnotherOneMakesMeanwhile: it may look for the key
// just before, and for the other records just after it was made.
func TestAServerUnsealsAStoreThatAnotherOneMakesMeanwhile(t *testing.T) {
	t.Parallel()
	m := memory.New()
	first, err := Open(t.Context(), Options{Backend: m, Bootstrap: true, GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	await(t, first, isUnsealed)
	early := 1
	b := &keyReads{Backend: m.Attach(), read: func(get func() (store.Node, error)) (store.Node, error) {
		if early > 0 {
			early--
			return store.Node{}, store.ErrNotFound
		}
		return get()
	}}
	s, err := Open(t.Context(), Options{Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st := s.Status(); st.State != StateUnsealed || !st.HoldsBootstrapKey {
		t.Errorf("after the start: %v, holds the key: %v", st.State, st.HoldsBootstrapKey)
	}
}

// TestARekeyDoesNotLeaveABootstrapKeyThatItCannotRead: it must find out whether
// there is one to be removed.
func TestARekeyDoesNotLeaveABootstrapKeyThatItCannotRead(t *testing.T) {
	t.Parallel()
	b := &keyReads{Backend: memory.New()}
	s, err := Open(t.Context(), Options{Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	await(t, s, isUnsealed)
	s.cancel() // nothing but what the test does
	s.owned.Wait()
	info, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	share := sharesOf(t, info.Keys)[0]
	reads := 0
	b.read = func(get func() (store.Node, error)) (store.Node, error) {
		if reads++; reads == 1 {
			return get() // the look before
		}
		return store.Node{}, store.ErrUnavailable
	}
	if _, err := s.VerifyRekey(t.Context(), info.Nonce, share); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("while the key cannot be read: %v", err)
	}
	b.read = nil
	if _, err := s.VerifyRekey(t.Context(), info.Nonce, share); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := b.Get(t.Context(), keyBootstrap, store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the bootstrap key stays: %v", err)
	}
}

// TestRecoveringKeepsNoBootstrapKey: nothing would ever take it.
func TestRecoveringKeepsNoBootstrapKey(t *testing.T) {
	t.Parallel()
	b := memory.New()
	s, err := Open(t.Context(), Options{Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	await(t, s, isUnsealed)
	wrapped, err := hex.DecodeString(s.view.Load().config.Keys[0])
	s.Close()
	if err != nil {
		t.Fatal(err)
	}
	private, err := newInStorage(b, nil).load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := private.Unwrap(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Recover(t.Context(), b, []string{string(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.keeper.(inStorage).known.fresh != nil {
		t.Error("it is kept")
	}
}
