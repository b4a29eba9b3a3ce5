package atomicfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrFolder: the name is that of a folder.
var ErrFolder = errors.New("this is a folder; name a file in it")

// OpenStream opens a pipe or device to write to, by the strictest rules. It waits
// for a reader of the pipe. ErrLink, ErrForeign, ErrOpen, ErrFolder, ErrNoName.
func OpenStream(path string) (*os.File, error) { return Rules{}.OpenStream(path) }

// OpenStream opens a pipe or device to write to. It waits for a reader of the
// pipe. ErrLink, ErrForeign, ErrOpen, ErrFolder, ErrNoName.
func (r Rules) OpenStream(path string) (*os.File, error) {
	dir, name, err := r.openParent(path)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	defer dir.Close()
	f, err := dir.openStream(name)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	return f, nil
}

func (d *Folder) openStream(name string) (*os.File, error) {
	info, err := d.stat(name)
	if err == nil {
		// Before it is opened: a foreign pipe would keep this process waiting.
		err = d.checkStream(info)
	}
	if err != nil {
		return nil, err
	}
	fd, err := openat(d.fd, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	// Something else may have the name by now.
	if err = unix.Fstat(fd, &info); err == nil {
		err = d.checkStream(info)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenAppend opens a regular file to read it and to append to it, or creates it
// with mode 0600. It is for logs, which are never replaced as a whole. ErrLink,
// ErrForeign, ErrOpen, ErrFolder, ErrNotRegular, ErrNoName.
func (r Rules) OpenAppend(path string) (*os.File, error) {
	dir, name, err := r.openParent(path)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	defer dir.Close()
	f, err := dir.openAppend(name)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	return f, nil
}

func (d *Folder) openAppend(name string) (*os.File, error) {
	// O_NONBLOCK: a pipe in place of the file must not keep this process waiting.
	fd, err := openat(d.fd, name, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, ErrLink
	case errors.Is(err, unix.EISDIR):
		return nil, ErrFolder
	case errors.Is(err, unix.ENXIO): // a socket
		return nil, ErrNotRegular
	case err != nil:
		return nil, err
	}
	var info unix.Stat_t
	if err = unix.Fstat(fd, &info); err == nil {
		switch {
		case info.Mode&unix.S_IFMT != unix.S_IFREG:
			err = ErrNotRegular
		case !d.rules.trusts(int(info.Uid)):
			err = ErrForeign
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (d *Folder) checkStream(info unix.Stat_t) error {
	switch info.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK:
	case unix.S_IFLNK:
		return ErrLink
	case unix.S_IFDIR:
		return ErrFolder
	default:
		return errors.New("it is neither a pipe nor a device")
	}
	if !d.rules.trusts(int(info.Uid)) {
		return ErrForeign
	}
	return nil
}
