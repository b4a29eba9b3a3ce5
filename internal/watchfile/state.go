package watchfile

import (
	"context"
	"crypto/sha256"
	"time"
)

// state is what an observation is remembered by: a hash, because content may be a key and is not to be kept. The zero state is that
// nothing has been observed.
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

// same compares by what a caller would notice; error values made anew for each attempt are not comparable.
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
