package main

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// timerSlack is how late the kernel may wake a sleeping thread of a server.
	timerSlack = 2 * time.Millisecond
	// kernelSlack is what a process has of which nobody has asked anything else.
	kernelSlack = 50 * time.Microsecond
)

// tolerateLateTimers starts this program again, as the same process, with timerSlack.
//
// While there is something to do, a thread of the Go runtime (sysmon) sleeps for 20 µs
// at a time, looks, and sleeps again. With the slack that processes have, a server under
// load is interrupted by it one to three thousand times a second, and the thread that it
// takes the processor from may wait for milliseconds to get it back. No timer of a server
// means less than some milliseconds, and what a thread is woken for by others, be it the
// network, is not delayed. What it gains is in docs/performance.md.
//
// The thread exists before any code of ours runs, and an unprivileged process can set
// the slack of nobody but the calling thread and of those that come from it; a new
// program inherits it (PR_SET_TIMERSLACK in prctl(2), execve(2)). Who has chosen one,
// as systemd does for TimerSlackNSec=, is left alone. So is a process that may not do
// any of that: the server works the same, for more of the processor.
func tolerateLateTimers() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if slack() != kernelSlack || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) != nil || slack() != timerSlack {
		return // without the last look a kernel that does nothing would have us start again for ever
	}
	if program, err := os.Executable(); err == nil {
		_ = unix.Exec(program, os.Args, os.Environ()) // if it returns, this one goes on
	}
}

// slack is that of the calling thread; 0 if it cannot be known.
func slack() time.Duration {
	ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}
