package holders

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/shares"
)

// ShareLife is how long entered shares wait for the others: a share in memory
// can be stolen.
const ShareLife = 15 * time.Minute

// ShareCollector holds the shares of one unseal key that were entered so far,
// until there are enough. The zero value is empty.
type ShareCollector struct {
	mu     sync.Mutex
	check  string               // of which key; guarded by mu
	shares map[int]shares.Share // by number; guarded by mu
	since  time.Time            // when the first was entered; guarded by mu
}

// Add takes one share. Once there are enough it returns the verified unseal
// key, and forgets all shares, right or wrong. ErrBadKey, ErrWrongKey.
func (c *ShareCollector) Add(h *Holding, store, text string) (*envelope.Key, error) {
	share, err := shares.Parse(h.scheme(), text)
	switch {
	case errors.Is(err, shares.ErrWrong):
		return nil, fmt.Errorf("%w: this share is not one of the %d of this store", ErrWrongKey, h.Shares)
	case errors.Is(err, shares.ErrMalformed):
		return nil, ErrBadKey
	case err != nil:
		return nil, fmt.Errorf("%w: %w", barrier.ErrCorrupt, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.check != h.KeyCheck || time.Since(c.since) > ShareLife {
		c.resetLocked()
	}
	if c.shares == nil {
		c.check, c.shares, c.since = h.KeyCheck, make(map[int]shares.Share), time.Now()
	}
	if _, twice := c.shares[share.Number()]; twice {
		share.Clear()
	} else {
		c.shares[share.Number()] = share
	}
	if len(c.shares) < h.Threshold {
		return nil, nil
	}
	defer c.resetLocked()
	return combine(h, store, slices.Collect(maps.Values(c.shares)))
}

func combine(h *Holding, store string, all []shares.Share) (*envelope.Key, error) {
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

// ProgressOf returns how many shares of the key with this check were entered.
func (c *ShareCollector) ProgressOf(check string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.check != check {
		return 0
	}
	return len(c.shares)
}

// Reset forgets all shares.
func (c *ShareCollector) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resetLocked()
}

// Expire forgets shares that have waited too long.
func (c *ShareCollector) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shares != nil && time.Since(c.since) > ShareLife {
		c.resetLocked()
	}
}

func (c *ShareCollector) resetLocked() {
	for _, s := range c.shares {
		s.Clear()
	}
	c.shares = nil
}
