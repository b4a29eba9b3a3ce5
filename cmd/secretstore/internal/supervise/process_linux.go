package supervise

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put the program into its own process group, and kill it when this process
// ends, which could not watch it any longer.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adoptOrphans makes this process the parent of what the program leaves behind, so that
// it learns when that ends. Without it, Run still looks from time to time.
func adoptOrphans() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Protect keeps other processes of this user from reading the memory of this one and its
// environment, which contains the token. It does not affect programs that this process
// starts.
func Protect() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// withoutTTOU runs f with SIGTTOU blocked in this thread: it would stop a background
// process that hands over the terminal. If it were ignored instead, the next program
// would ignore it, too.
func withoutTTOU(f func()) {
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGTTOU - 1)
	if unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old) == nil {
		defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // cannot fail after that
	}
	f()
}
