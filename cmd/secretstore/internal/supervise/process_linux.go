package supervise

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put the program into a process group of its own, and have it end
// with this process: nobody would care for it any more.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Protect keeps other processes of this user out of the memory of this one, and
// its environment, which holds the token. A program that is started from here is
// not affected.
func Protect() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// withoutTTOU runs f with SIGTTOU blocked in this thread: it would stop a process
// in the background that hands over the terminal. To ignore it instead would make
// the next program ignore it too.
func withoutTTOU(f func()) {
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGTTOU - 1)
	if unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old) == nil {
		defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // cannot fail after that
	}
	f()
}
