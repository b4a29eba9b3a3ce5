// Package supervise runs a program as if it had been started directly: it passes
// standard streams, terminal, signals and exit status through. It can signal or restart
// the program when its secrets have changed. Processes that the program leaves behind in
// its process group are stopped when it ends, since they have its old secrets.
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
	// StopTimeout is how long the program and the rest of its process group may
	// take to end after SIGTERM before they are killed.
	StopTimeout time.Duration
}

// Run starts the program and returns its exit status once it and the rest of its process
// group have ended, or 128 plus the signal that killed it. SIGTERM goes to the group, all
// other signals to the program. Run waits for all children of this process, so nothing
// else in it can have any. ErrStart.
func Run(cmd Command, o Options) (int, error) {
	// The program dies with the thread that started it: see attributes.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	adoptOrphans()
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
	if !signal.Ignored(unix.SIGPIPE) { // the program is to inherit that
		signal.Notify(broken, unix.SIGPIPE)
		defer signal.Stop(broken)
	}
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
	pid    int  // of the program, and of its process group
	ended  bool // the program has ended and was waited for
	status int  // its exit status then
	next   *Change
	last   bool // the program is not restarted
	ending bool // the program got a signal that ends most programs
	// kill is when to kill the group; nil unless it is being stopped.
	kill <-chan time.Time
	// killed says that the group was killed. What is left after that, such as a
	// process of another user, is left alone.
	killed bool
	// look is when to look again whether the group has ended. Not all its processes
	// are children of this process.
	look <-chan time.Time
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
	r.pid, r.ended, r.ending, r.killed = pid, false, false, false
	r.next, r.kill, r.look, r.again = nil, nil, nil, nil
	r.tty.give(pid)
	return nil
}

func (r *running) loop(children, signals <-chan os.Signal) (int, error) {
	changes := r.o.Changes
	for {
		over := false
		select {
		case <-children:
			r.wait()
			over = r.ended && r.groupEnded()
		case <-r.look:
			r.look = nil
			over = r.groupEnded()
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
			over = r.ended && r.killed
			r.killGroup()
		}
		if !over {
			continue
		}
		r.tty.take(r.pid)
		if r.next == nil {
			return r.status, nil
		}
		r.cmd.Env = r.next.Env
		if err := r.start(); err != nil {
			return 0, err
		}
	}
}

// lookEvery is how often to look whether the group has ended once the program has.
const lookEvery = 50 * time.Millisecond

// groupEnded reports whether nothing is left of the process group of the program, which
// has ended. What is left is stopped.
func (r *running) groupEnded() bool {
	if errors.Is(unix.Kill(-r.pid, 0), unix.ESRCH) {
		return true
	}
	r.last = r.last || r.next == nil // the program has ended by itself
	r.stop()
	r.look = time.After(lookEvery)
	return false
}

// stop asks the group to end, and has it killed if it does not.
func (r *running) stop() {
	if r.kill != nil {
		return // it knows
	}
	r.kill = time.After(r.o.StopTimeout)
	unix.Kill(-r.pid, unix.SIGTERM)
	unix.Kill(-r.pid, unix.SIGCONT) // a stopped process would not end
}

func (r *running) killGroup() {
	unix.Kill(-r.pid, unix.SIGKILL)
	r.killed, r.kill = true, time.After(r.o.StopTimeout)
}

// wait reaps children, and notes how the program ended if it has.
func (r *running) wait() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG|unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || pid <= 0:
			return
		case pid != r.pid || r.ended: // an orphan
		case ws.Stopped():
			r.stopped(ws.StopSignal())
		case ws.Exited():
			r.status, r.ended, r.again = ws.ExitStatus(), true, nil
		case ws.Signaled():
			r.status, r.ended, r.again = 128+int(ws.Signal()), true, nil
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
		r.next, r.last = nil, true
		if r.kill == nil {
			r.stop()
		} else {
			unix.Kill(-r.pid, s)
		}
	case unix.SIGINT, unix.SIGQUIT:
		r.next = nil
		r.signal(s)
	default:
		r.signal(s)
	}
	switch s {
	case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP:
		r.ending = true
		if r.again != nil {
			r.resume()
		}
	}
}

// signal sends a signal to the program, or to the rest of its group if it has ended.
func (r *running) signal(s syscall.Signal) {
	if r.ended {
		unix.Kill(-r.pid, s)
		return
	}
	unix.Kill(r.pid, s) // wait has not reaped it yet
}

func (r *running) change(c Change) {
	if c.Signal != 0 && !r.ended {
		r.signal(c.Signal)
	}
	if c.Restart && !r.last {
		r.next = &c
		r.stop()
	}
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
