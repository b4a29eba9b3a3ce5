package bolt

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// holder names the process that has locked the file, if /proc shows it. From within
// another container it does not.
func holder(file fs.FileInfo) string {
	const unknown = "another process"
	stat, ok := file.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown
	}
	pid, ok := lockedBy(string(locks), uint64(stat.Dev), stat.Ino)
	switch {
	case !ok:
		return unknown
	case pid == os.Getpid():
		return fmt.Sprintf("this process (%d)", pid)
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	// A process chooses its own name: quote it.
	return fmt.Sprintf("process %d (%q)", pid, bytes.TrimSpace(name))
}

// unlock gives up the lock of an open file that bbolt can no longer close. Closing
// the file is not enough: its mapping would keep the lock.
func unlock(file *os.File) error {
	return unix.Flock(int(file.Fd()), unix.LOCK_UN)
}

// lockedBy finds the holder of an flock in the text of /proc/locks. A line is
//
//	1: FLOCK  ADVISORY  WRITE 1234 08:02:5678 0 EOF
//
// with the device in hexadecimal; "->" marks a process that waits (proc(5)).
func lockedBy(locks string, device, inode uint64) (pid int, ok bool) {
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(device), unix.Minor(device), inode)
	for line := range strings.Lines(locks) {
		field := strings.Fields(line)
		if len(field) < 6 || field[1] != "FLOCK" || field[5] != file {
			continue
		}
		if pid, err := strconv.Atoi(field[4]); err == nil && pid > 0 {
			return pid, true
		}
	}
	return 0, false
}
