//go:build !linux

package supervise

import "syscall"

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// adoptOrphans does nothing here: init is the parent of orphans.
func adoptOrphans() {}

// Protect does nothing here.
func Protect() error { return nil }

// withoutTTOU only runs f here.
func withoutTTOU(f func()) { f() }
