//go:build !linux

package atomicfile

import "golang.org/x/sys/unix"

// search opens a folder to pass through it.
const search = unix.O_RDONLY

// readLink returns target and owner of a link.
func readLink(dir int, name string) (target string, uid int, err error) {
	var info unix.Stat_t
	if err := unix.Fstatat(dir, name, &info, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return "", 0, err
	}
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", 0, err
	}
	return string(buf[:n]), int(info.Uid), nil
}
