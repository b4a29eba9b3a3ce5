package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// Folder is an open folder. It remains the same folder whatever happens to its
// path.
type Folder struct {
	fd int // opened for passing through; not always for reading
}

// OpenFolder opens the folder at path, "" for the working directory. Symbolic
// links are followed if they belong to root or to this user: those of others, in
// /tmp for example, could lead anywhere. ErrLink.
func OpenFolder(path string) (*Folder, error) { return openFolder(path, os.Geteuid()) }

func openFolder(path string, self int) (*Folder, error) {
	d, err := Start(path)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(path, "/")
	for links := 0; len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]
		if part == "" || part == "." {
			continue
		}
		next, err := d.Enter(part)
		if errors.Is(err, ErrLink) {
			var target string
			if target, err = d.follow(part, self); err == nil {
				if links++; links > maxLinks {
					err = unix.ELOOP
				} else if next = d; strings.HasPrefix(target, "/") {
					next, err = Start("/")
				}
				parts = append(strings.Split(target, "/"), parts...)
			}
		}
		if next != d {
			d.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("folder %s: %w", path, err)
		}
		d = next
	}
	return d, nil
}

// Start opens the folder where a path begins: the root, or the working
// directory.
func Start(path string) (*Folder, error) {
	start := "."
	if strings.HasPrefix(path, "/") {
		start = "/"
	}
	fd, err := openat(unix.AT_FDCWD, start, search|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("folder %s: %w", start, err)
	}
	return &Folder{fd}, nil
}

// Close releases the descriptor.
func (d *Folder) Close() { unix.Close(d.fd) } // nothing was written through it

// Fd returns the descriptor. It may be one that is good for fstat and fstatfs, but
// not for reading.
func (d *Folder) Fd() int { return d.fd }

// Enter opens the folder called name in d. ErrLink.
func (d *Folder) Enter(name string) (*Folder, error) {
	fd, err := openat(d.fd, name, search|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == nil {
		return &Folder{fd}, nil
	}
	// A link is ELOOP, or ENOTDIR because O_DIRECTORY applies to the link itself.
	if kind, e := d.kind(name); e == nil && kind == unix.S_IFLNK {
		return nil, ErrLink
	}
	return nil, fmt.Errorf("folder %s: %w", name, err)
}

// follow returns the target of a link. ErrLink if it belongs to neither root nor
// the user.
func (d *Folder) follow(name string, user int) (string, error) {
	target, uid, err := readLink(d.fd, name)
	switch {
	case err != nil:
		return "", err
	case uid != 0 && uid != user:
		return "", fmt.Errorf("%s belongs to another user: %w", name, ErrLink)
	case target == "":
		return "", unix.ENOENT
	}
	return target, nil
}

// Mkdir makes a folder of mode 0700 in d. An error that is unix.EEXIST if the
// name is taken.
func (d *Folder) Mkdir(name string) error { return unix.Mkdirat(d.fd, name, 0o700) }

// Chown gives the folder to another user and group, unless they are Keep.
func (d *Folder) Chown(uid, gid int) error {
	if uid == Keep && gid == Keep {
		return nil
	}
	fd, err := openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchown(fd, uid, gid)
}

// Exists reports whether d has a regular file called name. ErrLink, ErrNotRegular.
func (d *Folder) Exists(name string) (bool, error) {
	switch kind, err := d.kind(name); {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, err
	case kind == unix.S_IFREG:
		return true, nil
	case kind == unix.S_IFLNK:
		return false, ErrLink
	}
	return false, ErrNotRegular
}

// Open opens a file for reading, and waits for nothing if it is a pipe. A link is
// unix.ELOOP.
func (d *Folder) Open(name string) (*os.File, error) {
	fd, err := openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Remove removes a file.
func (d *Folder) Remove(name string) error { return unix.Unlinkat(d.fd, name, 0) }

// kind returns the type bits of the mode.
func (d *Folder) kind(name string) (uint32, error) {
	var info unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &info, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, err
	}
	return uint32(info.Mode) & unix.S_IFMT, nil
}

// sync makes the names in the folder outlive a power cut. A folder that may only
// be written to, not read, cannot be synced.
func (d *Folder) sync() error {
	fd, err := openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sync the folder: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Fsync(fd); err != nil {
		return fmt.Errorf("sync the folder: %w", err)
	}
	return nil
}

func openat(at int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(at, name, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
