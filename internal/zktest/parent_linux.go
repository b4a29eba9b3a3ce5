package zktest

import "syscall"

// dieWithParent has the kernel end a server whose test was killed and could
// not clean up.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
