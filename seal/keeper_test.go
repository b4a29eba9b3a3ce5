package seal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"secretstore/seal/pgp"
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
	s, _ := start()
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, logs := start()
	told := func(logs *observer.ObservedLogs) bool {
		return logs.Filter(func(e observer.LoggedEntry) bool { return strings.Contains(e.Message, "opens nothing of this store") }).Len() > 0
	}
	if told(logs) {
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
	if _, logs := start(); told(logs) {
		t.Error("a bootstrap key that is not there is told")
	}
	if err := os.WriteFile(file, kept, 0o600); err != nil { // as after a crash
		t.Fatal(err)
	}
	if _, logs := start(); !told(logs) {
		t.Error("nobody is told of a bootstrap key that was left")
	}
}

// TestTheBootstrapKeyIsParsedOnceForAnUnsealAndNotKept: parsing takes milliseconds
// of a start, and the key of a store that stays sealed does not stay in memory.
func TestTheBootstrapKeyIsParsedOnceForAnUnsealAndNotKept(t *testing.T) {
	key, err := pgp.Generate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	armored, err := key.Armor()
	if err != nil {
		t.Fatal(err)
	}
	times := 0
	parse := func(record []byte) (*pgp.PrivateKey, error) {
		times++
		return pgp.ParsePrivateKey(record)
	}
	var known knownKey
	expect := func(what string, want int) {
		t.Helper()
		if times != want {
			t.Errorf("%s: parsed %d times, want %d", what, times, want)
		}
		times = 0
	}
	look := func() {
		if !known.of(armored, []string{key.Fingerprint()}, parse) {
			t.Fatal("the key is not known")
		}
	}
	unseal := func(record []byte) error {
		private, err := known.parsed(record, parse)
		if err == nil && private.Fingerprint() != key.Fingerprint() {
			t.Error("another key")
		}
		return err
	}
	look()
	if err := unseal(armored); err != nil {
		t.Error(err)
	}
	expect("a look and an unseal", 1)
	if err := unseal(armored); err != nil {
		t.Error(err)
	}
	expect("another unseal", 1)
	look()
	look()
	expect("looks at a record that is known", 0)

	known = knownKey{}
	look()
	look()
	if known.fresh != nil {
		t.Error("a key that unseals nothing is kept")
	}
	times = 0
	known = knownKey{}
	look()
	if err := unseal([]byte("another record")); err == nil {
		t.Error("another record is taken for the one of the look")
	}
	expect("a record that has changed since the look", 2)
}
