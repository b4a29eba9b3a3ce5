package deliver

import "golang.org/x/sys/unix"

// inMemory reports whether the folder is on a file system that keeps nothing on
// a disk by itself. What the machine swaps out is its own affair.
func inMemory(dir int) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return false, err
	}
	// The type is signed on some machines, and 32 bits wide there.
	kind := uint32(fs.Type)
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC, nil
}
