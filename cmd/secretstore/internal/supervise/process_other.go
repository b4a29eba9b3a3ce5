//go:build !linux

package supervise

import "syscall"

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Protect does nothing here.
func Protect() error { return nil }

// withoutTTOU only runs f here.
func withoutTTOU(f func()) { f() }
