package watchfile

import (
	"context"
	"crypto/sha256"
	"time"
)

// state is what is remembered of a read: a hash, because the content may be a
// key, which must not be kept. The zero state means that nothing was read.
type state struct {
	sum     [sha256.Size]byte
	failure string
	error   error
}

// observe reads the file.
func observe(path string) ([]byte, state) {
	content, err := Read(path)
	if err != nil {
		return nil, state{failure: err.Error(), error: err}
	}
	return content, state{sum: sha256.Sum256(content)}
}

// same compares what a caller would notice. Errors are compared by their text,
// because each attempt makes a new value.
func (s state) same(t state) bool { return s.sum == t.sum && s.failure == t.failure }

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// sleepTick waits for the next tick and reports whether ctx is still alive.
func sleepTick(ctx context.Context, t *time.Ticker) bool {
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
