package supervise

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminal is the controlling terminal, or nothing. The program is in its own process
// group, so that Ctrl-C reaches it once, and not a second time through this process.
type terminal struct{ f *os.File }

func openTerminal() terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return terminal{} // there is no terminal
	}
	return terminal{f}
}

func (t terminal) close() {
	if t.f != nil {
		t.f.Close() // nothing was written
	}
}

// give makes the program the foreground group if this process is, and reports whether
// the program is the foreground group now.
func (t terminal) give(pid int) bool { return t.move(unix.Getpgrp(), pid) }

// take takes the terminal back from the program.
func (t terminal) take(pid int) { t.move(pid, unix.Getpgrp()) }

func (t terminal) move(from, to int) bool {
	if t.f == nil {
		return false
	}
	now, err := unix.IoctlGetInt(int(t.f.Fd()), unix.TIOCGPGRP)
	if err != nil || now != from {
		return err == nil && now == to
	}
	ok := false
	withoutTTOU(func() { ok = unix.IoctlSetPointerInt(int(t.f.Fd()), unix.TIOCSPGRP, to) == nil })
	return ok
}
