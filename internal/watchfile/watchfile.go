// Package watchfile reports changes of small files: policies, keys,
// certificates. It refuses those that another user can change. It polls and
// compares their content. File events would miss files that are replaced through
// symbolic links (Kubernetes) and files on network mounts.
package watchfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"secretstore/internal/filetrust"
	"secretstore/internal/textfile"
)

// MaxSize is the size in bytes of the largest file that is read.
const MaxSize = 1 << 20

// Errors of [Read], besides those of package os.
var (
	ErrTooLarge   = errors.New("file is larger than 1 MiB")
	ErrNotRegular = errors.New("not a regular file")
)

// settle is how long a changed file must stay unchanged before it is reported,
// so that half of a write is not taken for the new content.
const settle = 100 * time.Millisecond

// Read returns the content of a regular text file of at most [MaxSize] bytes that no
// other user can change, without a byte order mark. ErrNotRegular, ErrTooLarge,
// [filetrust.ErrUntrusted].
func Read(path string) ([]byte, error) { return read(path, filetrust.Check) }

// ReadSecret is Read for a file that no other user may read, either.
func ReadSecret(path string) ([]byte, error) { return read(path, filetrust.CheckSecret) }

func read(path string, check func(string, os.FileInfo) error) ([]byte, error) {
	f, err := open(path, check)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	content, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > MaxSize {
		return nil, fmt.Errorf("read %s: %w", path, ErrTooLarge)
	}
	if content, err = textfile.Text(content); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return content, nil
}

func open(path string, check func(string, os.FileInfo) error) (*os.File, error) {
	if err := filetrust.CheckLink(path); err != nil {
		return nil, err
	}
	// To open a FIFO would block otherwise.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("read %s: %w", path, ErrNotRegular)
	}
	if err == nil {
		err = check(path, info)
	}
	if err != nil {
		f.Close() // only read
		return nil, err
	}
	return f, nil
}

// Poll reads path at once and then after each period. It calls fn with the
// content when that differs from the last call, and with the error when reading
// starts to fail or fails differently. After a failure fn gets the content
// again, changed or not. Calls do not overlap; fn owns content. Poll returns when
// ctx is done.
func Poll(ctx context.Context, path string, every time.Duration, fn func(content []byte, err error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	content, last := observe(path)
	fn(content, last.error)
	for sleepTick(ctx, ticker) {
		content, now := observe(path)
		if now.same(last) {
			continue
		}
		if now.error == nil {
			if !sleep(ctx, min(settle, every)) {
				return
			}
			again := state{}
			if content, again = observe(path); !again.same(now) {
				continue // still being written: the next tick reads again
			}
		}
		last = now
		fn(content, now.error)
	}
}
