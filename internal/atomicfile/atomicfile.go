// Package atomicfile creates and replaces files so that a reader, a crash or a
// power cut finds the old content or the new, never a part of it.
//
// It writes files that hold keys and secrets, so an attacker must not be able to
// redirect it. A folder is opened once and then used by its descriptor, whatever
// happens to its path meanwhile. A symbolic link in place of the file is
// refused: the owner of the link would choose where the secret goes. An os.Root
// does not fit: it follows links, and it needs read permission on each folder of
// the path, where search permission is enough.
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
	// ErrLink: the name is that of a symbolic link, or a folder on the way is a
	// link that belongs to neither root nor this user.
	ErrLink = errors.New("there is a symbolic link on the way; name the real file or folder")
	// ErrNotRegular: something that is not a regular file has the name.
	ErrNotRegular = errors.New("there is something that is not a regular file; remove it first")
	// ErrNoName: the path names a folder.
	ErrNoName = errors.New("this is not the name of a file")
)

// tempPrefix begins the names of temporary files. One is left behind only by a
// crash; it has mode 0600.
const tempPrefix = ".secretstore-"

// WriteFile creates or replaces the file at path. Its mode is exactly mode,
// whatever the umask. After an error other than of the last step, syncing the
// folder, the old file is unchanged. ErrLink, ErrNotRegular, ErrNoName.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := Create(path)
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

// Create begins to create or replace the file at path. The caller must call
// Discard in the end. ErrLink, ErrNotRegular, ErrNoName.
func Create(path string) (*File, error) {
	folder, name, err := Split(path)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	dir, err := OpenFolder(folder)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	f, err := dir.Create(name)
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	f.owned = true
	return f, nil
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
// Discard in the end, before it closes the folder. ErrLink, ErrNotRegular.
func (d *Folder) Create(name string) (*File, error) {
	if _, err := d.Exists(name); err != nil {
		return nil, err
	}
	return d.create(name, tempPrefix+rand.Text())
}

func (d *Folder) create(name, temp string) (*File, error) {
	fd, err := openat(d.fd, temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return &File{dir: d, name: name, temp: temp, f: os.NewFile(uintptr(fd), temp)}, nil
}

// Write appends to the content.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	return n, withoutName(err)
}

// Content returns a reader of what was written so far. It works until Finish.
func (f *File) Content() io.Reader { return io.NewSectionReader(f.f, 0, math.MaxInt64) }

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

// Rename gives finished content its name and syncs the folder. ErrLink,
// ErrNotRegular.
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
