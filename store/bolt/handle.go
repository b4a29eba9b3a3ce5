package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bbolt "go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// handle is one open and locked file. A Backend has one, and during a Compact
// another, which then takes its place.
type handle struct {
	path     string // the name of the Backend's file, whatever this one is called now
	db       *bbolt.DB
	file     *os.File    // the one that db has open; db closes it
	identity os.FileInfo // of file, for os.SameFile

	// stuck is set when a panic ended bbolt, which may then hold its own locks
	// forever. It belongs to the goroutine that opens the file, until that is current.
	stuck bool

	// successor is the file that is about to take, or has taken, the place of
	// this one.
	successor atomic.Pointer[handle]

	// edges is held while a read begins, and by one that ends if it is free,
	// because bbolt then takes locks of its own: a fault at the beginning
	// leaves them taken forever, and nothing may wait for them then.
	// Otherwise the end is left to a goroutine. It must not wait for edges: a
	// read that begins may wait (for the file to be mapped again) until the
	// others have ended. closing is closed under the edges of the
	// current file, and another file made current under those of the old one:
	// no read begins, and none can leave locks behind, after that.
	edges sync.Mutex
}

// open opens the file called name, which is locked from then on, and hands it
// to use. If that fails, it is closed again. flag is added to those of bbolt.
func (h *handle) open(name string, flag int, wait time.Duration, use func() error) (err error) {
	fault := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(fault)
	defer func() {
		if p := recover(); p != nil {
			h.stuck = true
			err = errors.Join(damage(h.path, p), h.shut())
		}
	}()
	h.db, err = bbolt.Open(name, fileMode, &bbolt.Options{
		Timeout:      wait,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true, // they cost each read a lock
		OpenFile: func(name string, base int, mode fs.FileMode) (*os.File, error) {
			return h.openFile(name, base|flag, mode)
		},
	})
	if err != nil {
		return h.refused(err)
	}
	if err := use(); err != nil {
		return errors.Join(err, h.shut())
	}
	return nil
}

// openFile keeps the file that bbolt uses.
func (h *handle) openFile(name string, flag int, mode fs.FileMode) (*os.File, error) {
	file, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil && checkFreelist(file) != nil {
		err = fmt.Errorf("%w: %w", ErrDamaged, errNoFreelist)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	h.file, h.identity = file, info
	return file, nil
}

// refused says in the operator's words why bbolt did not open the file.
func (h *handle) refused(err error) error {
	var system *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("%s: %w by %s", h.path, ErrInUse, holder(h.identity))
	case errors.As(err, &system):
		return system // names the file
	case errors.As(err, &errno), h.file == nil:
		return fmt.Errorf("%s: %w", h.path, err)
	}
	return fmt.Errorf("%s: %w: %w", h.path, ErrDamaged, err)
}

// shut closes the file, once all reads on it have ended.
func (h *handle) shut() error {
	if h.stuck {
		return h.abandon()
	}
	return h.db.Close()
}

// abandon gives up the file without bbolt. The mapping stays until the
// process ends.
func (h *handle) abandon() error {
	if h.file == nil {
		return nil
	}
	return errors.Join(unlock(h.file), h.file.Close())
}

// isAt says whether the file is the one under that name.
func (h *handle) isAt(name string) bool {
	info, err := os.Stat(name)
	return err == nil && os.SameFile(info, h.identity)
}

// inPlace refuses if the file is no longer the one under its name, or was cut
// short: what is written then would be lost with the process, or overwrite a
// restored backup. To be replaced by its successor is fine.
func (h *handle) inPlace(tx *bbolt.Tx) error {
	info, err := os.Stat(h.path)
	if err != nil {
		return unavailable(h.path, err)
	}
	if !os.SameFile(info, h.identity) {
		for next := h.successor.Load(); next != nil; next = next.successor.Load() {
			if os.SameFile(info, next.identity) {
				return nil
			}
		}
		return unavailable(h.path, errors.New("the file was replaced while in use; restart the server"))
	}
	if info.Size() < tx.Size() {
		return unavailable(h.path, errors.New("the file was cut short while in use; restart the server"))
	}
	return nil
}
