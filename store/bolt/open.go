package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// lockWait bounds the wait for a file that another process has open: long enough
// for a predecessor that is about to close it, short enough for a person.
const lockWait = time.Second

// fileMode: the records are encrypted, but their number, sizes and times are
// not, and anyone who can write can destroy them.
const fileMode fs.FileMode = 0o600

// Open opens the file at path, or makes it (mode 0600; the folder must exist).
// It narrows wider modes of an existing file, and removes what an interrupted
// Compact left behind; Warnings reports both. It waits at most a second for a file
// that is in use. The errors are ErrInUse, ErrForeign, ErrDamaged and those of the
// operating system; all name the file. A file that is refused is left as it was.
func Open(ctx context.Context, path string) (*Backend, error) {
	if err := local.Expired(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	b := &Backend{
		path:        absolute,
		hub:         local.NewHub(),
		listings:    newListings(),
		requests:    make(chan *request),
		compactions: make(chan *compaction),
		closing:     make(chan struct{}),
		written:     make(chan struct{}),
		fallen:      make(chan struct{}),
	}
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	go writer{b}.loop()
	return b, nil
}

// errReplaced: the file that was opened is not the one under its name.
var errReplaced = errors.New("replaced while it was being opened")

// open opens the file that is under the path once it is locked. If another
// process's Compact replaced it while this one waited for the lock, the old file has
// no name: everything written to it would be lost.
func (b *Backend) open(ctx context.Context) error {
	wait := lockWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	for end := time.Now().Add(wait); ; {
		h := &handle{path: b.path}
		// Zero would mean forever.
		err := h.open(b.path, 0, max(time.Until(end), time.Millisecond), func() error { return b.inspect(ctx, h) })
		switch {
		case err == nil:
			b.current.Store(h)
			return nil
		case !errors.Is(err, errReplaced):
			return err
		case time.Now().After(end):
			return fmt.Errorf("%s: %w: %w", b.path, ErrInUse, err)
		}
	}
}

// inspect checks the content of the locked file, makes what a new one lacks, and
// refuses a file of another program before it changes anything.
func (b *Backend) inspect(ctx context.Context, h *handle) error {
	if !h.isAt(b.path) {
		return errReplaced
	}
	var fresh bool
	err := h.db.View(func(tx *bbolt.Tx) (err error) {
		if size, err := h.file.Stat(); err != nil {
			return fmt.Errorf("%s: %w", b.path, err)
		} else if size.Size() < tx.Size() {
			return fmt.Errorf("%s: %w: cut short at %d of %d bytes", b.path, ErrDamaged, size.Size(), tx.Size())
		}
		switch err := checkReferences(ctx, h.file, tx); {
		case errors.Is(err, errCycle):
			return fmt.Errorf("%s: %w: %w", b.path, ErrDamaged, err)
		case err != nil:
			return fmt.Errorf("%s: %w", b.path, err)
		}
		fresh, err = isEmpty(b.path, tx)
		return err
	})
	if err != nil {
		return err
	}
	if fresh {
		if err := b.initialize(h); err != nil {
			return fmt.Errorf("%s: %w", b.path, err)
		}
	}
	b.sweep()
	return b.narrow(h)
}

// isEmpty reports whether the file is empty. The error is for a file of another
// program.
func isEmpty(path string, tx *bbolt.Tx) (fresh bool, err error) {
	ours := tx.Bucket(formatBucket)
	if ours == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return false, fmt.Errorf("%s: %w", path, ErrForeign)
		}
		return true, nil
	}
	if format := ours.Get(formatKey); string(format) != string(formatValue) {
		return false, fmt.Errorf("%s: %w: format %.20q", path, ErrForeign, format)
	}
	if tx.Bucket(recordsBucket) == nil {
		return false, fmt.Errorf("%s: %w: no records bucket", path, ErrDamaged)
	}
	return false, nil
}

func (b *Backend) initialize(h *handle) error {
	err := h.db.Update(func(tx *bbolt.Tx) error {
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
	// Until its folder is on the disk too, a power cut can remove the file.
	folder, err := os.Open(filepath.Dir(b.path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// narrow takes the rights of group and others away from the file.
func (b *Backend) narrow(h *handle) error {
	mode := h.identity.Mode().Perm()
	if mode&^fileMode == 0 {
		return nil
	}
	if err := h.file.Chmod(fileMode); err != nil {
		return fmt.Errorf("%s: mode is %04o and cannot be changed: %w", b.path, mode, err)
	}
	b.warnings = append(b.warnings, fmt.Sprintf("%s: mode was %04o, changed to %04o", b.path, mode, fileMode))
	return nil
}
