//go:build !linux

package server

// Protect does nothing here.
func Protect() error { return nil }
