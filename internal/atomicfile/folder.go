package atomicfile

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// Rules are what a path may lead through. Every folder on the way must belong to
// root or to this user, and if everybody can write to it, be sticky: others could
// replace a file below it. A relative path is checked as the absolute one. The
// zero value is the strictest.
type Rules struct {
	// Links permits symbolic links that belong to root or to this user in place
	// of folders. Those of others, in /tmp for example, could lead anywhere. The
	// file itself is never a link.
	Links bool
	// Owner may own files and folders as well.
	Owner int
	// Make makes a folder that is missing. It is called with the one that it
	// should be in. Nil: a missing folder is an error.
	Make func(in *Folder, name string) error

	testOnlySelf int // in place of the user who runs this
}

// trusts reports whether uid may own a file or folder.
func (r Rules) trusts(uid int) bool {
	return uid == 0 || uid == r.Owner || uid == cmp.Or(r.testOnlySelf, os.Geteuid())
}

// Folder is an open folder. It remains the same folder whatever happens to its
// path.
type Folder struct {
	fd    int // opened for passing through; not always for reading
	rules Rules
}

// OpenFolder opens the folder at path, "" for the working directory. ErrLink,
// ErrForeign, ErrOpen.
func (r Rules) OpenFolder(path string) (*Folder, error) {
	if !strings.HasPrefix(path, "/") {
		// Not filepath.Abs, which may return a path with links.
		here, err := unix.Getwd()
		if err != nil {
			return nil, fmt.Errorf("the working directory: %w", err)
		}
		path = here + "/" + path
	}
	root, err := r.root()
	if err != nil {
		return nil, err
	}
	return root.walk(path)
}

// root opens the root folder.
func (r Rules) root() (*Folder, error) {
	fd, err := openat(unix.AT_FDCWD, "/", search|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("folder /: %w", err)
	}
	d := &Folder{fd, r}
	if err := d.check(); err != nil {
		d.Close()
		return nil, fmt.Errorf("folder /: %w", err)
	}
	return d, nil
}

// Sub opens the folder at a path below d, or makes it with Rules.Make. ErrLink,
// ErrForeign, ErrOpen.
func (d *Folder) Sub(path string) (*Folder, error) {
	fd, err := openat(d.fd, ".", search|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return (&Folder{fd, d.rules}).walk(path)
}

// walk opens the folder at a path below d, and closes d.
func (d *Folder) walk(path string) (*Folder, error) {
	parts := strings.Split(path, "/")
	for links := 0; len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]
		if part == "" || part == "." {
			continue
		}
		next, target, err := d.step(part)
		if target != "" {
			if links++; links > maxLinks {
				err = unix.ELOOP
			} else if next = d; strings.HasPrefix(target, "/") {
				next, err = d.rules.root()
			}
			parts = append(strings.Split(target, "/"), parts...)
		}
		if next != d {
			d.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("folder %s: %w", part, err)
		}
		d = next
	}
	return d, nil
}

// step enters the folder called name, which may have to be made, or returns the
// target of a link.
func (d *Folder) step(name string) (next *Folder, target string, err error) {
	next, err = d.enter(name)
	switch {
	case errors.Is(err, unix.ENOENT) && d.rules.Make != nil:
		if err := d.rules.Make(d, name); err != nil {
			return nil, "", err
		}
		next, err = d.enter(name)
	case errors.Is(err, ErrLink) && d.rules.Links:
		target, err = d.follow(name)
		return nil, target, err
	}
	if err != nil {
		return nil, "", err
	}
	if err := next.check(); err != nil {
		next.Close()
		return nil, "", err
	}
	return next, "", nil
}

// check reports whether others can replace what is in the folder.
func (d *Folder) check() error {
	var info unix.Stat_t
	if err := unix.Fstat(d.fd, &info); err != nil {
		return err
	}
	switch {
	case !d.rules.trusts(int(info.Uid)):
		return ErrForeign
	case info.Mode&unix.S_IWOTH != 0 && info.Mode&unix.S_ISVTX == 0:
		return ErrOpen
	}
	return nil
}

// Close releases the descriptor.
func (d *Folder) Close() { unix.Close(d.fd) } // nothing was written through it

// Fd returns the descriptor. It may be one that is good for fstat and fstatfs, but
// not for reading.
func (d *Folder) Fd() int { return d.fd }

// enter opens the folder called name in d, unchecked. ErrLink.
func (d *Folder) enter(name string) (*Folder, error) {
	fd, err := openat(d.fd, name, search|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == nil {
		return &Folder{fd, d.rules}, nil
	}
	// A link is ELOOP, or ENOTDIR because O_DIRECTORY applies to the link itself.
	if info, e := d.stat(name); e == nil && info.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil, ErrLink
	}
	return nil, err
}

// follow returns the target of a link. ErrLink if it belongs to another user.
func (d *Folder) follow(name string) (string, error) {
	target, uid, err := readLink(d.fd, name)
	switch {
	case err != nil:
		return "", err
	case !d.rules.trusts(uid):
		return "", fmt.Errorf("it belongs to another user: %w", ErrLink)
	case target == "":
		return "", unix.ENOENT
	}
	return target, nil
}

// Mkdir makes a folder of mode 0700 in d and gives it to a user and group, unless
// they are Keep. It does nothing if the name is taken.
func (d *Folder) Mkdir(name string, uid, gid int) error {
	switch err := unix.Mkdirat(d.fd, name, 0o700); {
	case errors.Is(err, unix.EEXIST):
		return nil // somebody else was first, and what they made is checked
	case err != nil:
		return fmt.Errorf("make the folder: %w", err)
	case uid == Keep && gid == Keep:
		return nil
	}
	fd, err := openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchown(fd, uid, gid)
}

// MkdirPrivate is a Rules.Make.
func MkdirPrivate(in *Folder, name string) error { return in.Mkdir(name, Keep, Keep) }

// Exists reports whether d has a regular file called name. ErrLink,
// ErrNotRegular, and ErrForeign if it belongs to another user.
func (d *Folder) Exists(name string) (bool, error) {
	info, err := d.stat(name)
	kind := info.Mode & unix.S_IFMT
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, err
	case kind == unix.S_IFLNK:
		return false, ErrLink
	case kind != unix.S_IFREG:
		return false, ErrNotRegular
	case !d.rules.trusts(int(info.Uid)):
		return false, ErrForeign
	}
	return true, nil
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

// RemoveLeftovers removes the temporary files that a process of this user has left
// when it was killed: those last written to before a time.
func (d *Folder) RemoveLeftovers(before time.Time) error {
	names, err := d.Names()
	if errors.Is(err, unix.EACCES) {
		return nil // new files may be made there, but it may not be listed
	}
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		if !isTemp(name) {
			continue
		}
		info, err := d.stat(name)
		switch {
		case errors.Is(err, unix.ENOENT): // it was renamed, or removed
		case err != nil:
			failed = append(failed, err)
		case info.Mode&unix.S_IFMT != unix.S_IFREG || int(info.Uid) != cmp.Or(d.rules.testOnlySelf, os.Geteuid()):
		case time.Unix(info.Mtim.Unix()).Before(before):
			failed = append(failed, d.Remove(name))
		}
	}
	return errors.Join(failed...)
}

// Names returns the names of what is in the folder.
func (d *Folder) Names() ([]string, error) {
	fd, err := openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close() // only read
	return f.Readdirnames(-1)
}

// stat describes name itself, if it is a link.
func (d *Folder) stat(name string) (info unix.Stat_t, err error) {
	err = unix.Fstatat(d.fd, name, &info, unix.AT_SYMLINK_NOFOLLOW)
	return info, err
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
