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

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/sealtest"
	"secretstore/store"
	"secretstore/store/memory"
)

// TestLeftoverBootstrapKeyIsReported: a rekey that is interrupted before it
// removes the key file leaves it forever, and it opens older copies of the
// storage. So a server that finds it must log a warning.
func TestLeftoverBootstrapKeyIsReported(t *testing.T) {
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
	warned := func(logs *observer.ObservedLogs) bool {
		return logs.Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, "does not open this store") }).Len() > 0
	}
	warnsNow := func(s *Store) bool {
		core, logs := observer.New(zapcore.WarnLevel)
		info, err := s.InitInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := bootstrapkey.InFile(file, nil).Warn(t.Context(), zap.New(core), info.Fingerprints); err != nil {
			t.Fatal(err)
		}
		return warned(logs)
	}
	s, _ := start()
	await(t, s, isUnsealed)
	keyFile, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if warnsNow(s) {
		t.Error("a bootstrap key in use is reported")
	}
	info, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.VerifyRekey(t.Context(), info.Nonce, []byte(sharesOf(t, info.Keys)[0])); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the bootstrap key is still there: %v", err)
	}
	if warnsNow(s) {
		t.Error("a missing bootstrap key is reported")
	}
	if err := os.WriteFile(file, keyFile, 0o600); err != nil { // as after a crash
		t.Fatal(err)
	}
	_, logs := start()
	for deadline := time.Now().Add(time.Minute); !warned(logs); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the leftover bootstrap key was not reported")
		}
	}
}

// TestOnlyTheStartThatMakesABootstrapKeySaysSo: the second of four starts.
func TestOnlyTheStartThatMakesABootstrapKeySaysSo(t *testing.T) {
	t.Parallel()
	b := memory.New()
	for i, bootstrap := range []bool{false, true, true, false} {
		core, logs := observer.New(zapcore.InfoLevel)
		s, err := Open(t.Context(), Options{Backend: b, Bootstrap: bootstrap, GenerateKey: sealtest.GenerateKey, Log: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		if bootstrap {
			await(t, s, isUnsealed)
		}
		s.Close()
		if said := logs.FilterMessageSnippet("making a bootstrap key").Len() > 0; said != (i == 1) {
			t.Errorf("start %d, bootstrap %v: said %v", i, bootstrap, said)
		}
	}
}

// keyReads passes reads of the bootstrap key through a function.
type keyReads struct {
	*memory.Backend
	read func(get func() (store.Node, error)) (store.Node, error) // nil: plain reads
}

func (b *keyReads) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	get := func() (store.Node, error) { return b.Backend.Get(ctx, key, c) }
	if key == barrier.KeyBootstrap && b.read != nil {
		return b.read(get)
	}
	return get()
}

// TestServerUnsealsAStoreThatAnotherServerIsMaking: the server may read the
// bootstrap key just before the store is made, and the other records just after.
func TestServerUnsealsAStoreThatAnotherServerIsMaking(t *testing.T) {
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

// TestRekeyFailsWhileItCannotReadTheBootstrapKey: it must not end before it knows
// whether there is a key to remove.
func TestRekeyFailsWhileItCannotReadTheBootstrapKey(t *testing.T) {
	t.Parallel()
	b := &keyReads{Backend: memory.New()}
	s, err := Open(t.Context(), Options{Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	await(t, s, isUnsealed)
	s.cancel() // stop background work: the test counts reads
	s.owned.Wait()
	info, err := s.StartRekey(t.Context(), RekeyParams{InitParams: sameHolder(t, 1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	share := sharesOf(t, info.Keys)[0]
	reads := 0
	b.read = func(get func() (store.Node, error)) (store.Node, error) {
		if reads++; reads == 1 {
			return get() // when the snapshot is taken
		}
		return store.Node{}, store.ErrUnavailable
	}
	if _, err := s.VerifyRekey(t.Context(), info.Nonce, []byte(share)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("while the key cannot be read: %v", err)
	}
	b.read = nil
	if _, err := s.VerifyRekey(t.Context(), info.Nonce, []byte(share)); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := b.Get(t.Context(), barrier.KeyBootstrap, store.Latest); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the bootstrap key is still there: %v", err)
	}
}

// TestRecoverDoesNotReadTheBootstrapKey unwraps the unseal key with the bootstrap
// key, and gives only the former to Recover.
func TestRecoverDoesNotReadTheBootstrapKey(t *testing.T) {
	t.Parallel()
	b := memory.New()
	s, err := Open(t.Context(), Options{Backend: b, Bootstrap: true, GenerateKey: sealtest.GenerateKey, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	await(t, s, isUnsealed)
	info, err := s.InitInfo(t.Context())
	s.Close()
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := hex.DecodeString(info.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	private, err := bootstrapkey.InStorage(b, nil).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := private.Unwrap(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	reads := 0
	counted := &keyReads{Backend: b, read: func(get func() (store.Node, error)) (store.Node, error) {
		reads++
		return get()
	}}
	r, err := Recover(t.Context(), counted, []string{string(key)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if reads > 0 {
		t.Errorf("the bootstrap key was read %d times", reads)
	}
}
