package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store/internal/local"
)

var (
	recordsBucket = []byte("records")
	formatBucket  = []byte("secretstore")
	formatKey     = []byte("format")
	formatValue   = []byte("1")
)

// lockWait bounds the wait for a file that somebody else has open: long
// enough for a predecessor that is just closing it, short enough for a person.
const lockWait = time.Second

// fileMode: the records are encrypted, but their number, sizes and times are
// not, and who can write can destroy.
const fileMode fs.FileMode = 0o600

// Open opens the file at path, or makes it (mode 0600; the folder must exist).
// Wider modes of an existing file are mended, which Warnings tells. It waits
// at most a second for a file that is in use. ErrInUse, ErrForeign,
// ErrDamaged, or what the operating system says; all name the file. A file
// that is refused is left as it was.
func Open(ctx context.Context, path string) (*Backend, error) {
	if err := local.Expired(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	b := &Backend{
		path:     absolute,
		hub:      local.NewHub(),
		requests: make(chan *request),
		closing:  make(chan struct{}),
		written:  make(chan struct{}),
		fallen:   make(chan struct{}),
	}
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	go b.write()
	return b, nil
}

// open fills in what comes from the file, or leaves it closed.
func (b *Backend) open(ctx context.Context) (err error) {
	fault := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(fault)
	defer func() {
		if p := recover(); p != nil {
			err = damage(b.path, p)
			// bbolt may hold its own locks: only the file can be given back.
			_ = b.abandon()
		}
	}()
	wait := lockWait
	if deadline, ok := ctx.Deadline(); ok {
		// Zero would mean for ever.
		wait = max(min(wait, time.Until(deadline)), time.Millisecond)
	}
	b.db, err = bbolt.Open(b.path, fileMode, &bbolt.Options{
		Timeout:      wait,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true, // they cost each read a lock
		OpenFile:     b.openFile,
	})
	if err != nil {
		return b.refused(err)
	}
	if err := b.adopt(); err != nil {
		return errors.Join(err, b.db.Close())
	}
	return nil
}

// openFile keeps hold of the file that bbolt works on.
func (b *Backend) openFile(name string, flag int, mode fs.FileMode) (*os.File, error) {
	file, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	b.file, b.identity = file, info
	return file, nil
}

// refused says in the operator's words why bbolt did not open the file.
func (b *Backend) refused(err error) error {
	var system *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.Is(err, bbolt.ErrTimeout):
		return fmt.Errorf("%s: %w by %s", b.path, ErrInUse, holder(b.identity))
	case errors.As(err, &system):
		return system // names the file
	case errors.As(err, &errno), b.file == nil:
		return fmt.Errorf("%s: %w", b.path, err)
	}
	return fmt.Errorf("%s: %w: %w", b.path, ErrDamaged, err)
}

// adopt looks at what the file holds, makes what a new one lacks, and refuses
// what is not ours before anything of it has been changed.
func (b *Backend) adopt() error {
	var fresh bool
	err := b.db.View(func(tx *bbolt.Tx) (err error) {
		if size, err := b.file.Stat(); err != nil {
			return fmt.Errorf("%s: %w", b.path, err)
		} else if size.Size() < tx.Size() {
			return fmt.Errorf("%s: %w: cut short at %d of %d bytes", b.path, ErrDamaged, size.Size(), tx.Size())
		}
		fresh, err = b.inspect(tx)
		return err
	})
	if err != nil {
		return err
	}
	if fresh {
		if err := b.initialise(); err != nil {
			return fmt.Errorf("%s: %w", b.path, err)
		}
	}
	return b.narrow()
}

// inspect reports whether the file is empty, or an error unless it is ours.
func (b *Backend) inspect(tx *bbolt.Tx) (fresh bool, err error) {
	ours := tx.Bucket(formatBucket)
	if ours == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return false, fmt.Errorf("%s: %w", b.path, ErrForeign)
		}
		return true, nil
	}
	if format := ours.Get(formatKey); string(format) != string(formatValue) {
		return false, fmt.Errorf("%s: %w: format %.20q", b.path, ErrForeign, format)
	}
	if tx.Bucket(recordsBucket) == nil {
		return false, fmt.Errorf("%s: %w: no records bucket", b.path, ErrDamaged)
	}
	return false, nil
}

func (b *Backend) initialise() error {
	err := b.db.Update(func(tx *bbolt.Tx) error {
		format, err := tx.CreateBucket(formatBucket)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(recordsBucket); err != nil {
			return err
		}
		return format.Put(formatKey, formatValue)
	})
	if err != nil {
		return err
	}
	// Until its folder is on the disk too, a power cut can take the file away.
	folder, err := os.Open(filepath.Dir(b.path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// narrow takes the file away from group and others.
func (b *Backend) narrow() error {
	mode := b.identity.Mode().Perm()
	if mode&^fileMode == 0 {
		return nil
	}
	if err := b.file.Chmod(fileMode); err != nil {
		return fmt.Errorf("%s: mode is %04o and cannot be mended: %w", b.path, mode, err)
	}
	b.warnings = append(b.warnings, fmt.Sprintf("%s: mode was %04o, mended to %04o", b.path, mode, fileMode))
	return nil
}
