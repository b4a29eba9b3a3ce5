//go:build !linux

package audit

import "os"

// allocate takes size bytes of the disk for a file.
func allocate(f *os.File, size int64) error { return fill(f, size) }
