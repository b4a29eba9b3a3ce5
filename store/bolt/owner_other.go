//go:build !linux

package bolt

import (
	"io/fs"
	"os"
)

// sameOwner is left out where owners are told in other ways.
func sameOwner(*os.File, fs.FileInfo) error { return nil }
