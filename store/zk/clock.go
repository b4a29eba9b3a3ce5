package zk

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store/zk/internal/session"
)

// compareEvery is how often the clocks are compared.
const compareEvery = 10 * time.Minute

// ClockReading is a comparison of the clock of this machine with that of the leader
// of ZooKeeper.
type ClockReading struct {
	// Ahead is by how much this machine's clock is ahead at least; negative if it
	// is behind, and 0 if no difference can be told from the time of the request.
	Ahead time.Duration
	At    time.Time // by this machine's clock; the zero time: there was none yet
}

// Clock returns the last comparison. There is one with each announcement of
// AnnounceNode, and every ten minutes while that runs.
func (b *Backend) Clock() ClockReading { return b.clock.last() }

// clock keeps the last comparison. A nil clock compares nothing.
type clock struct{ reading atomic.Pointer[ClockReading] }

func (c *clock) last() ClockReading {
	if c == nil {
		return ClockReading{}
	}
	if r := c.reading.Load(); r != nil {
		return *r
	}
	return ClockReading{}
}

// due reports whether it is time for another comparison.
func (c *clock) due() bool { return c != nil && time.Since(c.last().At) > compareEvery }

// compare reads when the leader has written the znode, which happened between sent
// and done.
func (c *clock) compare(ctx context.Context, s *session.Session, path string, sent, done time.Time) error {
	if c == nil {
		return nil
	}
	found, err := s.Get(ctx, path)
	if errors.Is(err, zkc.ErrNoNode) || err == nil && found.Stat.EphemeralOwner != s.ID() {
		return nil // another program changes it
	}
	if err != nil {
		return err
	}
	c.reading.Store(&ClockReading{Ahead: ahead(sent, done, time.UnixMilli(found.Stat.Mtime)), At: done})
	return nil
}

// ahead compares a clock with another one, by which something happened at other, in
// milliseconds. By the first clock it happened between sent and done.
func ahead(sent, done, other time.Time) time.Duration {
	if early := sent.Sub(other.Add(time.Millisecond)); early > 0 {
		return early
	}
	return min(done.Sub(other), 0)
}
