package zktest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// dieWithParent has the kernel end a server whose test was killed and could
// not clean up.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// stopped says whether no thread of the process runs any more: the signal stops
// them one by one, and on a busy machine they answer clients for a while.
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		_, state, _ := bytes.Cut(stat, []byte(") ")) // after the name, which may hold anything but this
		if err == nil && !bytes.HasPrefix(state, []byte("T")) {
			return false
		}
	}
	return err == nil
}
