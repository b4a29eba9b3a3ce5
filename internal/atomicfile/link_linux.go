package atomicfile

import "golang.org/x/sys/unix"

// search opens a folder to pass through it.
const search = unix.O_PATH

// readLink returns target and owner of one link, though another may take its
// name meanwhile.
func readLink(dir int, name string) (target string, uid int, err error) {
	fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", 0, err
	}
	defer unix.Close(fd)
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return "", 0, err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", 0, err
	}
	return string(buf[:n]), int(info.Uid), nil
}
