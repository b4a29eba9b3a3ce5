package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	// reserveMost is the size of the reserve in bytes: room for some 40,000
	// lines. On a smaller disk it is halved until it fits, down to reserveLeast.
	reserveMost  = 16 << 20
	reserveLeast = 64 << 10
	// reserveRetry is how often a reserve that was given back is made again.
	reserveRetry = time.Second
)

// reserve is a file beside the audit log that only takes room. When the disk is
// full, its room is given back, for the lines of requests with a token.
type reserve struct {
	path  string
	size  int64
	held  bool
	tried time.Time // when it was last made, or could not be
}

// makeReserve makes the reserve, or keeps the one that is there. It leaves as
// much of the disk as it takes.
func makeReserve(path string) (*reserve, error) {
	r := &reserve{path: path}
	var err error
	for r.size = reserveMost; r.size >= reserveLeast; r.size /= 2 {
		if err = r.take(2 * r.size); err == nil {
			return r, os.Truncate(path, r.size)
		}
		if !isFull(err) {
			return nil, err
		}
	}
	r.size = reserveMost
	return r, err
}

// take makes a file of the given size.
func (r *reserve) take(size int64) error {
	r.tried = time.Now()
	f, err := openFile(r.path)
	if err != nil {
		return fmt.Errorf("the reserve of the audit log: %w", err)
	}
	defer f.Close()
	if err := allocate(f, size); err != nil {
		_ = f.Truncate(0) // what was allocated is needed elsewhere
		return fmt.Errorf("the reserve of the audit log: %w", err)
	}
	r.held = true
	return nil
}

// retake makes the reserve again, in its whole size: with less, strangers could
// use up what was given back.
func (r *reserve) retake() bool {
	if !r.held && time.Since(r.tried) >= reserveRetry {
		_ = r.take(r.size) // tried again later
	}
	return r.held
}

// giveBack gives the room back. It reports whether there was any.
func (r *reserve) giveBack() bool {
	if !r.held {
		return false
	}
	r.held, r.tried = false, time.Now()
	return os.Truncate(r.path, 0) == nil
}

// fill takes room by writing, where the file system has no other way.
func fill(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for at := info.Size(); at < size; at += int64(len(zeros)) {
		if _, err := f.Write(zeros); err != nil {
			return err
		}
	}
	return f.Sync()
}

// isFull reports whether an error says that the disk or a quota is full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
