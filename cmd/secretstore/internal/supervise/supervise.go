// Package supervise runs a program as if it had been started directly: it passes
// standard streams, terminal, signals and exit status through. It can signal or restart
// the program when its secrets have changed. As process 1 it also waits for orphans.
//
// The only secrets that it knows are in the environment of the program.
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

// Command is the program to run.
type Command struct {
	Path string
	Args []string // with the name of the program
	Env  []string
}

// Change says what to do with the running program.
type Change struct {
	Signal  syscall.Signal // sent to it, unless 0
	Restart bool           // end it, and start it with Env
	Env     []string
}

// Options say how to treat the program.
type Options struct {
	Changes <-chan Change // nil for none
	// StopTimeout is how long the program may take to end for a restart before it
	// is killed.
	StopTimeout time.Duration
}

// Run starts the program and returns its exit status once it has ended by itself, or 128
// plus the signal that killed it. All signals to this process go to the program. Run
// waits for all children of this process, so nothing else in it can have any. ErrStart.
func Run(cmd Command, o Options) (int, error) {
	// The program dies with the thread that started it: see attributes.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := &running{cmd: cmd, o: o, tty: openTerminal()}
	defer r.tty.close()
	children := make(chan os.Signal, 1) // one is enough: wait checks all children
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	signals := make(chan os.Signal, 128)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	// Without this, a warning to a closed standard error would end this process.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	if err := r.start(); err != nil {
		return 0, err
	}
	return r.loop(children, signals)
}

// forwarded returns the signals to pass on. Those that were ignored when this process
// started stay ignored, here and in the program, as nohup needs it.
func forwarded() []os.Signal {
	var all []os.Signal
	for n := syscall.Signal(1); n < 65; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD: // cannot be caught; handled by Run
		case unix.SIGURG, unix.SIGPIPE: // of the Go runtime; about our own writes
		case unix.SIGTTIN, unix.SIGTTOU: // about our own use of the terminal
		case 32, 33, 34: // of the C libraries; Go does not deliver them
		default:
			if !signal.Ignored(n) {
				all = append(all, n)
			}
		}
	}
	return all
}

// running is the running program. Only the goroutine of Run uses it.
type running struct {
	cmd    Command
	o      Options
	tty    terminal
	pid    int
	next   *Change          // the restart to do when the program has ended
	kill   <-chan time.Time // when to kill it for that
	last   bool             // it must end and is not restarted
	ending bool             // it got a signal that ends most programs
	// again is when to offer the terminal again; nil unless the terminal has
	// stopped the program.
	again <-chan time.Time
}

func (r *running) start() error {
	pid, err := syscall.ForkExec(r.cmd.Path, r.cmd.Args, &syscall.ProcAttr{
		Env: r.cmd.Env, Files: []uintptr{0, 1, 2}, Sys: attributes(),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	r.pid, r.ending = pid, false
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
			r.again = nil
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
		case <-r.again:
			r.resume()
		case <-r.kill:
			unix.Kill(-r.pid, unix.SIGKILL) // wait has not reaped it yet
		}
	}
}

// wait reaps children, and reports how the program ended if it has.
func (r *running) wait() (status int, ended bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG|unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || pid <= 0:
			return status, ended
		case pid != r.pid: // an orphan
		case ws.Stopped():
			r.stopped(ws.StopSignal())
		case ws.Exited():
			status, ended = ws.ExitStatus(), true
		case ws.Signaled():
			status, ended = 128+int(ws.Signal()), true
		}
	}
}

// pass passes a signal on. A signal that ends the program cancels a restart.
func (r *running) pass(s syscall.Signal) {
	switch s {
	case unix.SIGCONT:
		r.tty.give(r.pid)
		unix.Kill(-r.pid, s) // as a shell does
		return
	case unix.SIGTERM:
		r.next, r.kill, r.last = nil, nil, true
	case unix.SIGINT, unix.SIGQUIT:
		r.next, r.kill = nil, nil
	}
	unix.Kill(r.pid, s) // wait has not reaped it yet
	switch s {
	case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP:
		r.ending = true
		if r.again != nil {
			r.resume()
		}
	}
}

func (r *running) change(c Change) {
	if c.Signal != 0 {
		unix.Kill(r.pid, c.Signal)
	}
	if !c.Restart || r.last {
		return
	}
	again := r.next != nil // it is stopping already
	r.next = &c
	if again {
		return
	}
	r.kill = time.After(r.o.StopTimeout)
	unix.Kill(r.pid, unix.SIGTERM)
	unix.Kill(-r.pid, unix.SIGCONT) // a stopped program would not end
}

// resumeEvery is how often a program that the terminal has stopped is offered the
// terminal.
const resumeEvery = 200 * time.Millisecond

// stopped handles a program that has stopped. The shell does not see that its job
// has stopped, so it could not continue it. A SIGSTOP has effect.
func (r *running) stopped(by syscall.Signal) {
	switch by {
	case unix.SIGTTIN, unix.SIGTTOU:
		if r.ending { // it may stop again before it handles the signal
			r.again = time.After(resumeEvery)
			return
		}
		r.resume()
	case unix.SIGTSTP:
		unix.Kill(-r.pid, unix.SIGCONT)
	}
}

// resume continues a program that used the terminal while it was not in the
// foreground. If this process is in the background as well, it tries again: a shell
// brings it to the foreground without a signal. Without a shell above, nobody could
// bring it there, and a program that should end must run to do so.
func (r *running) resume() {
	if !r.tty.give(r.pid) && !r.ending && !alone() {
		r.again = time.After(resumeEvery)
		return
	}
	r.again = nil
	unix.Kill(-r.pid, unix.SIGCONT)
}

// alone reports whether this process leads its session, so that there is no shell
// with job control above it.
func alone() bool {
	session, err := unix.Getsid(0)
	return err != nil || session == os.Getpid()
}
