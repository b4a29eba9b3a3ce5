package deliver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The refusals of Check and Place.
var (
	// ErrDisk: the file would outlive the machine's memory.
	ErrDisk = errors.New("this folder is on a disk, where deleted bytes can be found again; name one on a tmpfs (/dev/shm, /run), or say --allow-disk")
	// ErrLink: whoever made the link chose where the secret goes.
	ErrLink = errors.New("there is a symbolic link on the way; name the real folder")
	// ErrForeign: whoever owns the folder can put another file in place.
	ErrForeign = errors.New("a folder on the way belongs to another user, who could replace the file; name one of your own")
	// ErrOpen: everybody may write to the folder, and it is not sticky.
	ErrOpen = errors.New("everybody may replace files in this folder: chmod o-w it, or chmod +t as /tmp has it")
	// ErrOccupied: something that is no regular file has the name.
	ErrOccupied = errors.New("there is something that is not a regular file; remove it first")
	// ErrTwice: two secrets have the same destination.
	ErrTwice = errors.New("two secrets cannot be in one file")
)

// Keep is the UID or GID of a file that stays with the user who runs this.
const Keep = -1

// File is a secret to be put into a file.
type File struct {
	Dest     string // absolute, or relative to the working directory
	Mode     fs.FileMode
	UID, GID int // Keep, or who it belongs to
	Data     []byte
}

// Files are the secrets of one program, placed together.
type Files struct {
	List []File
	// AllowDisk takes folders that are not on a tmpfs.
	AllowDisk bool
}

// Check finds what Place would refuse, as far as that can be seen without the
// values: a token that counts its uses should not be spent on a mistake. It
// makes the folders.
func (f Files) Check() error {
	seen := map[string]bool{}
	for _, file := range f.List {
		name, err := filepath.Abs(file.Dest)
		if err != nil {
			return fmt.Errorf("%s: %w", file.Dest, err)
		}
		if seen[name] {
			return fmt.Errorf("%s: %w", file.Dest, ErrTwice)
		}
		seen[name] = true
		t, err := f.open(file)
		if err != nil {
			return err
		}
		t.close()
	}
	return nil
}

// Place writes every file beside its destination first, and moves them there
// once all are on the disk. If one fails before that, nothing has changed and
// nothing is left behind. undo removes the files that were not there before.
func (f Files) Place() (undo func(), err error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	var all []*target
	defer func() {
		for _, t := range all {
			t.close()
		}
	}()
	for _, file := range f.List {
		t, err := f.open(file)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
		if err := t.stage(file); err != nil {
			return nil, fmt.Errorf("write %s: %w", file.Dest, err)
		}
	}
	for _, t := range all {
		if err := t.commit(); err != nil {
			f.remove(all)
			return nil, fmt.Errorf("write %s: %w", t.file.Dest, err)
		}
	}
	made := append([]*target(nil), all...)
	return func() { f.remove(made) }, nil
}

// remove takes away the new files among those that were placed. It opens their
// folders again, by the same rules.
func (f Files) remove(all []*target) {
	for _, old := range all {
		if old.existed || old.temp != "" {
			continue
		}
		if t, err := f.open(old.file); err == nil {
			unix.Unlinkat(t.dir, t.name, 0) // on the way out of a failure that is reported
			t.close()
		}
	}
}

// target is the place of one file: an open folder, and a name in it.
type target struct {
	file    File // without data
	dir     int
	name    string
	temp    string // the file beside it, while there is one
	existed bool
}

func (t *target) close() {
	if t.temp != "" {
		unix.Unlinkat(t.dir, t.temp, 0) // what could be done about it?
	}
	unix.Close(t.dir)
}

// open walks to the folder of the file one component after the other, so that
// nobody can put a link in between, and makes what is missing with mode 0700.
func (f Files) open(file File) (*target, error) {
	file.Data = nil
	dest := file.Dest
	clean := filepath.Clean(dest)
	folder, name := filepath.Split(clean)
	if dest == "" || strings.HasSuffix(dest, "/") || name == "." || name == ".." || name == "" {
		return nil, fmt.Errorf("%q is not the name of a file", dest)
	}
	start := "."
	if filepath.IsAbs(clean) {
		start = "/"
	}
	dir, err := openFolder(unix.AT_FDCWD, start)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dest, err)
	}
	t := &target{file: file, dir: dir, name: name}
	if err := f.walk(t, folder); err != nil {
		t.close()
		return nil, fmt.Errorf("%s: %w", dest, err)
	}
	return t, nil
}

func (f Files) walk(t *target, folder string) error {
	for part := range strings.SplitSeq(folder, "/") {
		if part == "" || part == "." {
			continue
		}
		if err := f.step(t, part); err != nil {
			return err
		}
	}
	if err := f.allowed(t.dir); err != nil {
		return err
	}
	return t.free()
}

// step goes into a folder, which it makes if there is none.
func (f Files) step(t *target, part string) error {
	next, err := openFolder(t.dir, part)
	made := false
	if errors.Is(err, unix.ENOENT) {
		if err := f.allowed(t.dir); err != nil {
			return err
		}
		switch err := unix.Mkdirat(t.dir, part, 0o700); {
		case err == nil:
			made = true
		case !errors.Is(err, unix.EEXIST): // else somebody was faster
			return fmt.Errorf("make the folder %s: %w", part, err)
		}
		next, err = openFolder(t.dir, part)
	}
	if err != nil {
		return err
	}
	unix.Close(t.dir)
	t.dir = next
	if err := t.owned(); err != nil || !made {
		return err
	}
	return t.file.own(next)
}

// free wants the name to be new, or that of a file to be replaced.
func (t *target) free() error {
	var info unix.Stat_t
	switch err := unix.Fstatat(t.dir, t.name, &info, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	}
	switch info.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		t.existed = true
		return nil
	case unix.S_IFLNK:
		return ErrLink
	}
	return ErrOccupied
}

// owned wants nobody to be able to replace the file who may not.
func (t *target) owned() error {
	var info unix.Stat_t
	if err := unix.Fstat(t.dir, &info); err != nil {
		return err
	}
	switch {
	case !t.file.trusts(int(info.Uid), os.Geteuid()):
		return ErrForeign
	case info.Mode&unix.S_IWOTH != 0 && info.Mode&unix.S_ISVTX == 0:
		return ErrOpen
	}
	return nil
}

// own gives a new folder to whoever gets the file, who could not reach it
// otherwise.
func (f File) own(dir int) error {
	if f.UID == Keep && f.GID == Keep {
		return nil
	}
	return unix.Fchown(dir, f.UID, f.GID)
}

// trusts: root, who runs this, and who gets the file.
func (f File) trusts(uid, self int) bool {
	return uid == 0 || uid == self || f.UID != Keep && uid == f.UID
}

func openFolder(at int, name string) (int, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		return fd, nil
	}
	// A link is ELOOP, or ENOTDIR because O_DIRECTORY looks at the link itself.
	var info unix.Stat_t
	if unix.Fstatat(at, name, &info, unix.AT_SYMLINK_NOFOLLOW) == nil && info.Mode&unix.S_IFMT == unix.S_IFLNK {
		return -1, ErrLink
	}
	return -1, fmt.Errorf("folder %s: %w", name, err)
}

func (f Files) allowed(dir int) error {
	if f.AllowDisk {
		return nil
	}
	memory, err := inMemory(dir)
	if err == nil && !memory {
		err = ErrDisk
	}
	return err
}

// stage writes the file beside its destination. It gets its owner and its mode
// before it gets its name.
func (t *target) stage(file File) error {
	temp := ".secretstore-" + rand.Text()
	fd, err := unix.Openat(t.dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	t.temp = temp
	f := os.NewFile(uintptr(fd), temp)
	_, err = f.Write(file.Data)
	if err == nil && (file.UID != Keep || file.GID != Keep) {
		err = f.Chown(file.UID, file.GID)
	}
	if err == nil {
		err = f.Chmod(file.Mode.Perm())
	}
	if err == nil {
		err = f.Sync()
	}
	return plain(errors.Join(err, f.Close()))
}

func (t *target) commit() error {
	if err := unix.Renameat(t.dir, t.temp, t.dir, t.name); err != nil {
		return err
	}
	t.temp = ""
	return unix.Fsync(t.dir)
}

// plain leaves the name of the temporary file away, which tells nobody anything.
func plain(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
