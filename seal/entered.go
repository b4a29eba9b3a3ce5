package seal

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"secretstore/seal/envelope"
	"secretstore/seal/shares"
)

// shareLife is how long shares that were entered wait for the others: a share
// in memory is a share that can be stolen.
const shareLife = 15 * time.Minute

// entered collects the shares of one unseal key until there are enough. The
// zero value is empty.
type entered struct {
	mu     sync.Mutex
	check  string               // of which key; guarded by mu
	shares map[int]shares.Share // by number; guarded by mu
	since  time.Time            // when the first was entered; guarded by mu
}

// add takes one share. It returns the verified unseal key once there are
// enough, and forgets all shares then, right or wrong. ErrBadKey, ErrWrongKey.
func (e *entered) add(h *holding, store, text string) (*envelope.Key, error) {
	share, err := shares.Parse(h.scheme(), text)
	switch {
	case errors.Is(err, shares.ErrWrong):
		return nil, fmt.Errorf("%w: this share is not one of the %d of this store", ErrWrongKey, h.Shares)
	case errors.Is(err, shares.ErrMalformed):
		return nil, ErrBadKey
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.check != h.KeyCheck || time.Since(e.since) > shareLife {
		e.resetLocked()
	}
	if e.shares == nil {
		e.check, e.shares, e.since = h.KeyCheck, make(map[int]shares.Share), time.Now()
	}
	if _, twice := e.shares[share.Number()]; twice {
		share.Clear()
	} else {
		e.shares[share.Number()] = share
	}
	if len(e.shares) < h.Threshold {
		return nil, nil
	}
	defer e.resetLocked()
	return combine(h, store, e.shares)
}

func combine(h *holding, store string, from map[int]shares.Share) (*envelope.Key, error) {
	var all []shares.Share
	for _, s := range from {
		all = append(all, s)
	}
	key, err := shares.Combine(h.scheme(), all)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	if !h.checks(key, store) {
		key.Clear()
		return nil, ErrWrongKey
	}
	return key, nil
}

// progressOf returns how many shares of the key with this check are waiting.
func (e *entered) progressOf(check string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.check != check {
		return 0
	}
	return len(e.shares)
}

func (e *entered) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resetLocked()
}

// expire forgets shares that have waited too long.
func (e *entered) expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shares != nil && time.Since(e.since) > shareLife {
		e.resetLocked()
	}
}

func (e *entered) resetLocked() {
	for _, s := range e.shares {
		s.Clear()
	}
	e.shares = nil
}
