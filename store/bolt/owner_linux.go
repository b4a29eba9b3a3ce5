package bolt

import (
	"io/fs"
	"os"
	"syscall"
)

// sameOwner gives file to the owner and group of another one, so that a
// rewrite done as root leaves a file that the server can still open.
func sameOwner(file *os.File, other fs.FileInfo) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	is, ok := info.Sys().(*syscall.Stat_t)
	want, known := other.Sys().(*syscall.Stat_t)
	if !ok || !known || is.Uid == want.Uid && is.Gid == want.Gid {
		return nil
	}
	return file.Chown(int(want.Uid), int(want.Gid))
}
