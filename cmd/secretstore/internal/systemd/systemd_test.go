package systemd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
)

// TestWatchdogHearsNothingWhileTheCheckFails, and hears of the server again when
// it works.
func TestWatchdogHearsNothingWhileTheCheckFails(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // a socket has a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "s"))
	t.Setenv("WATCHDOG_USEC", "30000")
	ctx, cancel := context.WithCancel(t.Context())
	var checks atomic.Int32
	const failing = 5
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewNotifier(zap.NewNop()).Watchdog(ctx, func(ctx context.Context) error {
			switch n := checks.Add(1); {
			case n > failing:
				return nil
			case n%2 == 0:
				<-ctx.Done() // a check that hangs fails when the next one is due
				return ctx.Err()
			default:
				return errors.New("it does not work")
			}
		})
	}()
	for range 2 {
		buffer := make([]byte, 100)
		n, err := socket.Read(buffer)
		if err != nil || string(buffer[:n]) != "WATCHDOG=1" {
			t.Errorf("%q, %v", buffer[:n], err)
		}
		if checks.Load() <= failing {
			t.Error("the watchdog was told that the server works, and it does not")
		}
	}
	cancel()
	<-done
}

func TestWithoutSystemdNothingIsSaid(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	n := NewNotifier(zap.NewNop())
	n.Ready()
	n.Watchdog(t.Context(), func(context.Context) error {
		t.Error("a check without a watchdog")
		return nil
	})
	if sockets, err := Sockets(); err != nil || len(sockets) > 0 {
		t.Errorf("%v, %v", sockets, err)
	}
}
