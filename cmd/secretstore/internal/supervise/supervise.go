// Package supervise runs one program as if it had been started directly: its
// standard streams, terminal, signals and exit status are passed through, while
// it can be signalled or started again when its secrets have changed. As
// process 1 it also waits for orphans.
//
// It knows nothing of secrets but the environment that it is told to start with.
package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrStart: the program could not be started.
var ErrStart = errors.New("the program could not be started")

// Command is what is run.
type Command struct {
	Path string
	Args []string // with the name of the program
	Env  []string
}

// Change is what is to be done to the program that runs.
type Change struct {
	Signal  syscall.Signal // sent to it, unless 0
	Restart bool           // end it, and start it with Env
	Env     []string
}

// Options say how a program is treated.
type Options struct {
	Changes <-chan Change // nil: none will come
	// StopTimeout is how long a program may take to end for a restart; after
	// that it is killed.
	StopTimeout time.Duration
}

// Run starts the program and returns its exit status once it has ended by
// itself: 128 and the signal if it was killed by one. All signals that this
// process gets go to the program, and all children of this process are waited
// for, so that nothing else in it can have any. ErrStart.
func Run(cmd Command, o Options) (int, error) {
	// The program dies with the thread that made it, if that is so wished.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := &running{cmd: cmd, o: o, tty: openTerminal()}
	defer r.tty.close()
	children := make(chan os.Signal, 1) // one is enough: all are looked at
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	signals := make(chan os.Signal, 128)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	// Without this a warning to a standard error that nobody reads would end us.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	if err := r.start(); err != nil {
		return 0, err
	}
	return r.loop(children, signals)
}

// forwarded returns the signals that are passed on. Those that were ignored when
// this program started stay so, here and in the program, as nohup wants it.
func forwarded() []os.Signal {
	var all []os.Signal
	for n := syscall.Signal(1); n < 65; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD: // cannot be caught; handled apart
		case unix.SIGURG, unix.SIGPIPE: // the runtime's own; about our own writes
		case unix.SIGTTIN, unix.SIGTTOU: // about our own use of the terminal
		case 32, 33, 34: // of the C libraries; Go gives them to nobody
		default:
			if !signal.Ignored(n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// running is a program that runs. Only the goroutine of Run touches it.
type running struct {
	cmd  Command
	o    Options
	tty  terminal
	pid  int
	next *Change          // the restart that waits for the program to end
	kill <-chan time.Time // when it is killed for that
	last bool             // it was told to end, and is not started again
}

func (r *running) start() error {
	pid, err := syscall.ForkExec(r.cmd.Path, r.cmd.Args, &syscall.ProcAttr{
		Env: r.cmd.Env, Files: []uintptr{0, 1, 2}, Sys: attributes(),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	r.pid = pid
	r.tty.give(pid)
	return nil
}

func (r *running) loop(children, signals <-chan os.Signal) (int, error) {
	changes := r.o.Changes
	for {
		select {
		case <-children:
			status, ended := r.wait()
			if !ended {
				continue
			}
			r.tty.take(r.pid)
			if r.next == nil {
				return status, nil
			}
			r.cmd.Env, r.next, r.kill = r.next.Env, nil, nil
			if err := r.start(); err != nil {
				return 0, err
			}
		case s := <-signals:
			r.pass(s.(syscall.Signal))
		case c, ok := <-changes:
			if !ok {
				changes = nil
				continue
			}
			r.change(c)
		case <-r.kill:
			unix.Kill(-r.pid, unix.SIGKILL) // it cannot have been waited for yet
		}
	}
}

// wait looks at every child that has changed, and reports how the program ended.
func (r *running) wait() (status int, ended bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG|unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || pid <= 0:
			return status, ended
		case pid != r.pid: // an orphan that came to process 1
		case ws.Stopped():
			r.stopped(ws.StopSignal())
		case ws.Exited():
			status, ended = ws.ExitStatus(), true
		case ws.Signaled():
			status, ended = 128+int(ws.Signal()), true
		}
	}
}

// pass sends a signal on. Whoever wants the program to end does not want it
// started again.
func (r *running) pass(s syscall.Signal) {
	switch s {
	case unix.SIGCONT:
		r.tty.give(r.pid)
		unix.Kill(-r.pid, s) // the shell continues groups
		return
	case unix.SIGTERM:
		r.next, r.kill, r.last = nil, nil, true
	case unix.SIGINT, unix.SIGQUIT:
		r.next, r.kill = nil, nil
	}
	unix.Kill(r.pid, s) // it cannot have been waited for yet
}

func (r *running) change(c Change) {
	if c.Signal != 0 {
		unix.Kill(r.pid, c.Signal)
	}
	if !c.Restart || r.last {
		return
	}
	again := r.next != nil // it is being stopped already
	r.next = &c
	if again {
		return
	}
	r.kill = time.After(r.o.StopTimeout)
	unix.Kill(r.pid, unix.SIGTERM)
	unix.Kill(-r.pid, unix.SIGCONT) // a stopped program does not hear
}

// stopped continues a program that the terminal has stopped. A shell does not see
// that its job has stopped, so it could not continue it. A program that reads the
// terminal in the background stays stopped until this process gets a SIGCONT, and
// a SIGSTOP is meant.
func (r *running) stopped(by syscall.Signal) {
	switch by {
	case unix.SIGTTIN, unix.SIGTTOU: // perhaps faster than start, which gives it the terminal
		if r.tty.give(r.pid) {
			unix.Kill(-r.pid, unix.SIGCONT)
		}
	case unix.SIGTSTP:
		unix.Kill(-r.pid, unix.SIGCONT)
	}
}
