package tasks

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"secretstore/cmd/secretstore/internal/cli/base"
)

// TestSignalTakesEffectAfterFilesArePlaced would end the test itself otherwise.
func TestSignalTakesEffectAfterFilesArePlaced(t *testing.T) {
	seen := make(chan os.Signal, 1)
	undone := false
	undo, err := placeWhole(func() (func(), error) {
		// Only now, so that it is not this that keeps the signal from ending us.
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		signal.Notify(seen, syscall.SIGHUP)
		defer signal.Stop(seen)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Error(err)
		}
		<-seen
		return func() { undone = true }, nil
	})
	if by, ok := errors.AsType[*base.Ended](err); !ok || by.Status != 128+int(syscall.SIGTERM) && by.Status != 128+int(syscall.SIGHUP) || undo == nil {
		t.Fatalf("%v, undo %v", err, undo != nil)
	}
	if undo(); !undone {
		t.Error("the files cannot be taken away")
	}
	if _, err := placeWhole(func() (func(), error) { return func() {}, nil }); err != nil {
		t.Errorf("without a signal: %v", err)
	}
}
