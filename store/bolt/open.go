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

// lockWait bounds the wait for a file that somebody else has open: long
// enough for a predecessor that is just closing it, short enough for a person.
const lockWait = time.Second

// fileMode: the records are encrypted, but their number, sizes and times are
// not, and who can write can destroy.
const fileMode fs.FileMode = 0o600

// Open opens the file at path, or makes it (mode 0600; the folder must exist).
// Wider modes of an existing file are mended, and what a Compact that was cut
// off has left is removed, which Warnings tells. It waits at most a second for
// a file that is in use. ErrInUse, ErrForeign, ErrDamaged, or what the
// operating system says; all name the file. A file that is refused is left as
// it was.
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

// open opens the file that is under the path once it is locked. One that its
// owner's Compact has replaced while this process waited for the lock has no
// name any more: to work on it would lose whatever is written.
func (b *Backend) open(ctx context.Context) error {
	wait := lockWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	for end := time.Now().Add(wait); ; {
		h := &handle{path: b.path}
		// Zero would mean for ever.
		err := h.open(b.path, 0, max(time.Until(end), time.Millisecond), func() error { return b.adopt(h) })
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

// adopt looks at what the locked file holds, makes what a new one lacks, and
// refuses what is not ours before anything of it has been changed.
func (b *Backend) adopt(h *handle) error {
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
		if err := checkReferences(h.file, tx); err != nil {
			return fmt.Errorf("%s: %w: %w", b.path, ErrDamaged, err)
		}
		fresh, err = b.inspect(tx)
		return err
	})
	if err != nil {
		return err
	}
	if fresh {
		if err := b.initialise(h); err != nil {
			return fmt.Errorf("%s: %w", b.path, err)
		}
	}
	b.sweep()
	return b.narrow(h)
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

func (b *Backend) initialise(h *handle) error {
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
	// Until its folder is on the disk too, a power cut can take the file away.
	folder, err := os.Open(filepath.Dir(b.path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// narrow takes the file away from group and others.
func (b *Backend) narrow(h *handle) error {
	mode := h.identity.Mode().Perm()
	if mode&^fileMode == 0 {
		return nil
	}
	if err := h.file.Chmod(fileMode); err != nil {
		return fmt.Errorf("%s: mode is %04o and cannot be mended: %w", b.path, mode, err)
	}
	b.warnings = append(b.warnings, fmt.Sprintf("%s: mode was %04o, mended to %04o", b.path, mode, fileMode))
	return nil
}
