// Package systemd connects a server with systemd: it takes the sockets that systemd
// has opened, and reports the state of the server and that it is alive. It follows
// the environment variables of systemd; without them it does nothing.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Sockets returns the sockets that systemd passes, by their name
// (FileDescriptorName=). Each must listen on TCP, and have its own name. The
// error has a line for each that does not. It may be called once in a process.
func Sockets() (map[string]net.Listener, error) {
	sockets := make(map[string]net.Listener)
	var errs []error
	for _, f := range activation.Files(true) {
		l, err := listener(f)
		if err == nil && sockets[f.Name()] != nil {
			err = errors.Join(errors.New("there are two of that name"), l.Close())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("socket %q: %w", f.Name(), err))
			continue
		}
		sockets[f.Name()] = l
	}
	return sockets, errors.Join(errs...)
}

// listener turns a file into a listener, and closes the file.
func listener(f *os.File) (net.Listener, error) {
	defer f.Close() // a copy is in use
	// With Accept=yes, it would be the connection of one client.
	if accepts, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || accepts == 0 {
		return nil, errors.Join(errors.New("it does not listen; use ListenStream= and Accept=no"), err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if _, ok := l.(*net.TCPListener); !ok {
		return nil, errors.Join(errors.New("it is not a TCP socket; write an address and a port after ListenStream="), l.Close())
	}
	return l, nil
}

// Notifier tells systemd how the server is doing.
type Notifier struct {
	log   *zap.Logger
	every time.Duration // of the watchdog; 0 if it does not watch
}

// NewNotifier returns one for this process.
func NewNotifier(log *zap.Logger) *Notifier {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog of systemd is not notified", zap.Error(err))
	}
	return &Notifier{log: log, every: every}
}

// Ready says that the server serves, at first and after a reload.
func (n *Notifier) Ready() { n.say(daemon.SdNotifyReady) }

// Reloading says that the server reads its files again; Ready ends it.
func (n *Notifier) Reloading() { n.say(daemon.SdNotifyReloading) }

// Stopping says that the server is about to end.
func (n *Notifier) Stopping() { n.say(daemon.SdNotifyStopping) }

func (n *Notifier) say(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("cannot notify systemd of the state of the server", zap.String("state", state), zap.Error(err))
	}
}

// Watchdog tells systemd that the server works, as often as systemd asks for,
// until ctx ends. If check fails, systemd hears nothing, and ends the server if
// that lasts. Each check has until the next one is due.
func (n *Notifier) Watchdog(ctx context.Context, check func(context.Context) error) {
	if n.every == 0 {
		return
	}
	// Two checks may fail before the time is over.
	ticker := time.NewTicker(n.every / 3)
	defer ticker.Stop()
	for {
		bound, cancel := context.WithTimeout(ctx, n.every/3)
		err := check(bound)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.log.Error("the server does not answer its own check; the watchdog of systemd is not notified", zap.Error(err))
		default:
			n.say(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
