package seal

import (
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
	"secretstore/store"
	"secretstore/store/memory"
)

// TestBootstrapKeyThatARekeyHasLeftIsTold: one that was cut off before the file
// was removed leaves it for ever, and it opens older copies of the storage.
func TestBootstrapKeyThatARekeyHasLeftIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bootstrap.key")
	b := memory.New()
	start := func() (*Store, *observer.ObservedLogs) {
		core, logs := observer.New(zapcore.WarnLevel)
		s, err := Open(t.Context(), Options{Backend: b, Bootstrap: true, BootstrapKeyFile: file, Log: zap.New(core)})
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
		s.keeper.warn(t.Context(), zap.New(core), s.view.Load().config.Fingerprints)
		return said(logs)
	}
	s, _ := start()
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
	file := filepath.Join(t.TempDir(), "bootstrap.key")
	b := memory.New()
	inRecord, inFile := newInStorage(b), &inFile{path: file}
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
			if got := k.keeper.fingerprint(t.Context()); got != want {
				t.Errorf("%T: %q, want %q", k.keeper, got, want)
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
