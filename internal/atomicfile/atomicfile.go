// Package atomicfile creates and replaces files so that a reader, a crash or a
// power cut finds the old content or the new, never a part of it.
//
// It writes files that hold keys and secrets, so an attacker must not be able to
// redirect or replace them (see Rules). A folder is opened once and then used by
// its descriptor, whatever happens to its path meanwhile. A symbolic link in place
// of the file is refused: the owner of the link would choose where the secret
// goes. An os.Root does not fit: it follows links, and it needs read permission on
// each folder of the path, where search permission is enough.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What is refused.
var (
	// ErrLink: the name is that of a symbolic link, or a folder on the way is one
	// that the rules do not permit.
	ErrLink = errors.New("there is a symbolic link on the way; name the real file or folder")
	// ErrForeign: a folder or the file belongs to another user, who could replace
	// or read it.
	ErrForeign = errors.New("it belongs to another user; use a folder and a file of your own")
	// ErrOpen: everybody can write to a folder on the way, and it is not sticky.
	ErrOpen = errors.New("everybody can replace files in this folder; run chmod o-w on it, or chmod +t as on /tmp")
	// ErrNotRegular: something that is not a regular file has the name.
	ErrNotRegular = errors.New("there is something that is not a regular file; remove it first")
	// ErrNoName: the path names a folder.
	ErrNoName = errors.New("this is not the name of a file")
)

// tempPrefix begins the names of temporary files; rand.Text follows. One is left
// behind only by a crash; it has mode 0600.
const tempPrefix = ".secretstore-"

// isTemp reports whether a temporary file can have the name.
func isTemp(name string) bool {
	text, ok := strings.CutPrefix(name, tempPrefix)
	return ok && len(text) == len(rand.Text()) && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// WriteFile creates or replaces the file at path, by the strictest rules.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return Rules{}.WriteFile(path, data, mode)
}

// WriteFile creates or replaces the file at path. Its mode is exactly mode,
// whatever the umask. After an error other than of the last step, syncing the
// folder, the old file is unchanged. The errors are those of Create.
func (r Rules) WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := r.Create(path)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err = f.Write(data); err == nil {
		err = f.Commit(mode)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Create begins to create or replace the file at path, by the strictest rules.
func Create(path string) (*File, error) { return Rules{}.Create(path) }

// Create begins to create or replace the file at path. The caller must call
// Discard in the end. ErrLink, ErrForeign, ErrOpen, ErrNotRegular, ErrNoName.
func (r Rules) Create(path string) (*File, error) {
	dir, name, err := r.openParent(path)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	f, err := dir.Create(name)
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	f.owned = true
	return f, nil
}

// CreateNew creates an empty file of mode 0600 that does not exist yet, by the
// strictest rules, and syncs its folder. fs.ErrExist, and the errors of Create.
func CreateNew(path string) (*os.File, error) {
	dir, name, err := Rules{}.openParent(path)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	defer dir.Close()
	f, err := dir.CreateNew(name)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	if err := dir.sync(); err != nil {
		f.Close() // it is empty
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	return f, nil
}

// openParent opens the folder of the file at path.
func (r Rules) openParent(path string) (dir *Folder, name string, err error) {
	folder, name, err := Split(path)
	if err != nil {
		return nil, "", err
	}
	dir, err = r.OpenFolder(folder)
	return dir, name, err
}

// Split returns the folder and the name of the file at path. ErrNoName.
func Split(path string) (folder, name string, err error) {
	folder, name = filepath.Split(path)
	if name == "" || name == "." || name == ".." {
		return "", "", ErrNoName
	}
	return folder, name, nil
}

// File is new content for a file. It is in a temporary file beside it until
// Rename.
type File struct {
	dir   *Folder
	owned bool // dir is closed by Discard
	name  string
	temp  string // "" once it is renamed or removed
	f     *os.File
	named bool // Rename has renamed it
}

// Create begins to create or replace the file called name. The caller must call
// Discard in the end, before it closes the folder. The errors are those of Exists.
func (d *Folder) Create(name string) (*File, error) {
	if _, err := d.Exists(name); err != nil {
		return nil, err
	}
	return d.create(name, tempPrefix+rand.Text())
}

func (d *Folder) create(name, temp string) (*File, error) {
	f, err := d.CreateNew(temp)
	if err != nil {
		return nil, err
	}
	return &File{dir: d, name: name, temp: temp, f: f}, nil
}

// CreateNew creates a file of mode 0600 that does not exist yet. fs.ErrExist.
func (d *Folder) CreateNew(name string) (*os.File, error) {
	fd, err := openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Write appends to the content.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	return n, withoutName(err)
}

// Content returns a reader of what was written so far. It works until Finish.
func (f *File) Content() *io.SectionReader { return io.NewSectionReader(f.f, 0, math.MaxInt64) }

// Keep, as a UID or GID, leaves the one that the file has.
const Keep = -1

// Finish ends the content: it gets its owner and its mode, and is synced to the
// disk. It has no name yet.
func (f *File) Finish(uid, gid int, mode fs.FileMode) error {
	var err error
	if uid != Keep || gid != Keep {
		err = f.f.Chown(uid, gid)
	}
	if err == nil {
		err = f.f.Chmod(mode.Perm())
	}
	if err == nil {
		err = f.f.Sync()
	}
	return withoutName(errors.Join(err, f.f.Close()))
}

// Rename gives finished content its name and syncs the folder. The errors are
// those of Exists, among others.
func (f *File) Rename() error {
	if _, err := f.dir.Exists(f.name); err != nil {
		return err
	}
	// Should a link take the name now, it is replaced, not followed.
	if err := unix.Renameat(f.dir.fd, f.temp, f.dir.fd, f.name); err != nil {
		return err
	}
	f.temp, f.named = "", true
	return f.dir.sync()
}

// Renamed reports whether the content has its name, even if Rename could not sync
// the folder.
func (f *File) Renamed() bool { return f.named }

// Commit is Finish, with the owner that the file has, and Rename.
func (f *File) Commit(mode fs.FileMode) error {
	if err := f.Finish(Keep, Keep, mode); err != nil {
		return err
	}
	return f.Rename()
}

// Discard removes content that was not renamed, and releases what Create opened.
func (f *File) Discard() {
	f.f.Close() // an error if it is finished
	if f.temp != "" {
		f.dir.Remove(f.temp) // if it fails, a file of mode 0600 is left
		f.temp = ""
	}
	if f.owned {
		f.dir.Close()
		f.owned = false
	}
}

// withoutName leaves out the name of the temporary file, which means nothing to
// the user.
func withoutName(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && strings.HasPrefix(e.Path, tempPrefix) {
		return e.Err
	}
	return err
}
