// Package watchfile reports changes of small files: policies, keys,
// certificates. It polls and compares their content. File events would miss
// files that are replaced through symbolic links (Kubernetes) and files on
// network mounts.
package watchfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
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

// Read returns the content of a regular file of at most [MaxSize] bytes.
func Read(path string) ([]byte, error) {
	// Before opening it: opening a FIFO would block.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: %w", path, ErrNotRegular)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > MaxSize {
		return nil, fmt.Errorf("read %s: %w", path, ErrTooLarge)
	}
	return content, nil
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
