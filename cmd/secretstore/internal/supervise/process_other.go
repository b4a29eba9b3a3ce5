//go:build !linux

package supervise

import "syscall"

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Protect knows of no such protection here.
func Protect() error { return nil }

// withoutTTOU knows of no mask of a thread here.
func withoutTTOU(f func()) { f() }
