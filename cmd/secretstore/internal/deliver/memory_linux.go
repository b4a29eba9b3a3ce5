package deliver

import "golang.org/x/sys/unix"

// inMemory reports whether the folder is on a file system that is only in memory. The
// kernel may still swap it out.
func inMemory(dir int) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return false, err
	}
	// On some machines, the type is signed and has 32 bits.
	kind := uint32(fs.Type)
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC, nil
}
