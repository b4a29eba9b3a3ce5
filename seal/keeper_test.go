package seal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

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
