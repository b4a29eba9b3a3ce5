package holders

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"secretstore/internal/scrub"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/shares"
)

// Shares in memory can be stolen, so they do not wait for the others for long.
const (
	// SharePause is how long they are kept after the newest one, and ShareLife
	// after the first.
	SharePause = 15 * time.Minute
	ShareLife  = time.Hour
)

// ShareCollector holds the shares of one unseal key that were entered so far for
// one purpose, until there are enough. The zero value is empty.
type ShareCollector struct {
	mu            sync.Mutex
	purpose       string               // guarded by mu
	shares        map[int]shares.Share // by number; guarded by mu
	first, newest time.Time            // when these were entered; guarded by mu
}

// Add takes one share for a purpose, of which Holding.KeyCheck is the usual one:
// to open what the key opens. Once there are enough shares it returns the
// verified unseal key, and forgets all shares, right or wrong. ErrBadKey,
// ErrWrongKey.
func (c *ShareCollector) Add(h *Holding, store string, text []byte) (*envelope.Key, error) {
	key, err := c.Keep(h.KeyCheck, h, store, text)
	if key != nil {
		c.Reset()
	}
	return key, err
}

// Keep is Add for another purpose. It forgets right shares only with the next
// Reset: if what they are for fails, the holders need not enter them again.
func (c *ShareCollector) Keep(purpose string, h *Holding, store string, text []byte) (*envelope.Key, error) {
	var share shares.Share
	var err error
	scrub.Do(func() { share, err = shares.Parse(h.scheme(), text) })
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
	if c.purpose != purpose || c.expiredLocked() {
		c.resetLocked()
	}
	now := time.Now()
	if c.shares == nil {
		c.purpose, c.shares, c.first = purpose, make(map[int]shares.Share), now
	}
	if _, twice := c.shares[share.Number()]; twice {
		share.Clear()
	} else {
		c.shares[share.Number()], c.newest = share, now
	}
	if len(c.shares) < h.Threshold {
		return nil, nil
	}
	var key *envelope.Key
	scrub.Do(func() { key, err = combine(h, store, slices.Collect(maps.Values(c.shares))) })
	if err != nil {
		c.resetLocked()
	}
	return key, err
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

// Progress returns how many shares were entered for a purpose.
func (c *ShareCollector) Progress(purpose string) int { return len(c.Entered(purpose)) }

// Entered returns whose shares were entered for a purpose: their indexes among
// the holders of the key, in order.
func (c *ShareCollector) Entered(purpose string) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.purpose != purpose || c.expiredLocked() {
		return nil
	}
	var all []int
	for number := range c.shares {
		all = append(all, max(number-1, 0)) // the share of a single holder has no number
	}
	slices.Sort(all)
	return all
}

// Until returns when shares that were entered for a purpose are forgotten, or the
// zero time if there are none.
func (c *ShareCollector) Until(purpose string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.purpose != purpose || c.shares == nil || c.expiredLocked() {
		return time.Time{}
	}
	pause, life := c.newest.Add(SharePause), c.first.Add(ShareLife)
	if pause.Before(life) {
		return pause
	}
	return life
}

// ForgetOthers forgets shares that were entered for another purpose.
func (c *ShareCollector) ForgetOthers(purpose string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.purpose != purpose {
		c.resetLocked()
	}
}

// Empty reports whether there are no shares.
func (c *ShareCollector) Empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.shares) == 0
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
	if c.expiredLocked() {
		c.resetLocked()
	}
}

func (c *ShareCollector) expiredLocked() bool {
	return c.shares != nil && (time.Since(c.newest) > SharePause || time.Since(c.first) > ShareLife)
}

func (c *ShareCollector) resetLocked() {
	for _, s := range c.shares {
		s.Clear()
	}
	c.purpose, c.shares = "", nil
}
