// Package slack lets the kernel wake the sleeping threads of a server late. Whoever
// imports it, as the program does, starts "secretstore server" anew, as the same process.
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
// any of that, or not on Linux: the server works the same, for more of the processor.
package slack

// In nanoseconds, how late the kernel may wake a sleeping thread.
const (
	OfServer = 2_000_000 // of a server
	OfKernel = 50_000    // of a process of which nobody has asked anything else
)
