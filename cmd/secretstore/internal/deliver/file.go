package deliver

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"secretstore/internal/atomicfile"
)

// Errors of Check and Place, besides those of package atomicfile.
var (
	// ErrDisk: the file would be on a disk.
	ErrDisk = errors.New("this folder is on a disk, where deleted data can be recovered; use one on a tmpfs (/dev/shm, /run), or --allow-disk")
	// ErrTwice: two secrets have the same destination.
	ErrTwice = errors.New("two secrets cannot be in one file")
)

// Keep, as a UID or GID, is that of the user who runs this.
const Keep = atomicfile.Keep

// File is a secret to write to a file.
type File struct {
	Dest     string // absolute, or relative to the working directory
	Mode     fs.FileMode
	UID, GID int // of the owner, or Keep
	Data     []byte
}

// Files are the secrets of one program, placed together.
type Files struct {
	List []File
	// AllowDisk permits folders that are not on a tmpfs.
	AllowDisk bool
}

// Check finds what Place would refuse, as far as possible without the values: a mistake
// should not cost a use of a token. It makes the folders.
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

// Place writes every file beside its destination and renames them once all are synced.
// If one fails before that, nothing has changed and nothing is left behind. undo removes
// the files that did not exist before.
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
		if err := t.staged.Rename(); err != nil {
			f.remove(all)
			return nil, fmt.Errorf("write %s: %w", t.file.Dest, err)
		}
	}
	return func() { f.remove(all) }, nil
}

// remove removes the placed files that did not exist before. It opens their folders
// again, by the same rules.
func (f Files) remove(all []*target) {
	for _, old := range all {
		if old.existed || !old.staged.Renamed() {
			continue
		}
		if t, err := f.open(old.file); err == nil {
			t.dir.Remove(t.name) // an earlier error is reported
			t.close()
		}
	}
}

// target is the place of one file: an open folder, and a name in it.
type target struct {
	file    File // without data
	dir     *atomicfile.Folder
	name    string
	existed bool
	staged  *atomicfile.File // the new content; nil before stage
}

func (t *target) close() {
	if t.staged != nil {
		t.staged.Discard()
	}
	t.dir.Close()
}

// open opens the folder of the file, and makes missing folders with mode 0700.
func (f Files) open(file File) (*target, error) {
	file.Data = nil
	dest := file.Dest
	if strings.HasSuffix(dest, "/") {
		return nil, fmt.Errorf("%q: %w", dest, atomicfile.ErrNoName)
	}
	folder, name, err := atomicfile.Split(filepath.Clean(dest)) // "" becomes "."
	if err != nil {
		return nil, fmt.Errorf("%q: %w", dest, err)
	}
	dir, err := f.rules(file).OpenFolder(folder)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dest, err)
	}
	t := &target{file: file, dir: dir, name: name}
	if err = f.allowed(dir); err == nil {
		t.existed, err = dir.Exists(name)
	}
	if err != nil {
		t.close()
		return nil, fmt.Errorf("%s: %w", dest, err)
	}
	return t, nil
}

// rules permit folders and files of the owner of the file. A new folder belongs to
// that owner, who could not reach the file otherwise.
func (f Files) rules(file File) atomicfile.Rules {
	return atomicfile.Rules{Owner: file.UID, Make: func(in *atomicfile.Folder, name string) error {
		if err := f.allowed(in); err != nil {
			return err
		}
		return in.Mkdir(name, file.UID, file.GID)
	}}
}

func (f Files) allowed(dir *atomicfile.Folder) error {
	if f.AllowDisk {
		return nil
	}
	memory, err := inMemory(dir.Fd())
	if err == nil && !memory {
		err = ErrDisk
	}
	return err
}

// stage writes the file beside its destination. The file gets its owner and mode before
// it gets its name.
func (t *target) stage(file File) (err error) {
	if t.staged, err = t.dir.Create(t.name); err != nil {
		return err
	}
	if _, err := t.staged.Write(file.Data); err != nil {
		return err
	}
	return t.staged.Finish(file.UID, file.GID, file.Mode)
}
