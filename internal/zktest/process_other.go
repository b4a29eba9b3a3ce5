//go:build !linux

package zktest

import (
	"syscall"
	"time"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

// stopped gives the threads of the process time to stop.
func stopped(int) bool {
	time.Sleep(200 * time.Millisecond)
	return true
}
