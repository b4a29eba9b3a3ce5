//go:build !linux

package bolt

import "io/fs"

// holder names who has the file locked, which only Linux tells cheaply.
func holder(fs.FileInfo) string { return "another process" }
