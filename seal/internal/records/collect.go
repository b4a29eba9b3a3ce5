package records

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Collector removes what requests leave behind: pieces of writes that were
// never committed, and deleted secrets that have expired.
type Collector struct {
	*Reader
	cleanup *Cleanup
	log     *zap.Logger
}

// NewCollector returns a collector for the secrets that reader reads.
func NewCollector(reader *Reader, cleanup *Cleanup, log *zap.Logger) *Collector {
	return &Collector{reader, cleanup, log}
}

const (
	// collectEvery is how often blobs without a secret are looked for.
	collectEvery = time.Minute
	// CollectAfter is how long a blob stays after this server has first seen it
	// without a secret that names it: longer than any write takes.
	CollectAfter = 10 * time.Minute
	// collectTimeout bounds the work on one record.
	collectTimeout = 30 * time.Second
)

// RunBlobs removes the pieces of values whose write was never committed, until
// the context ends.
func (c *Collector) RunBlobs(ctx context.Context) {
	seen := make(map[store.Key]time.Time)
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !c.barrier.IsOpen() {
			continue
		}
		if err := c.CollectBlobs(ctx, seen, time.Now()); err != nil && ctx.Err() == nil {
			c.log.Warn("could not collect pieces without a secret; retrying", zap.Error(err))
		}
	}
}

// CollectBlobs checks every blob once, as of now. seen holds when each was
// first seen, and is brought up to date.
func (c *Collector) CollectBlobs(ctx context.Context, seen map[store.Key]time.Time, now time.Time) error {
	list, err := c.barrier.Children(ctx, barrier.KeyBlobs, store.Cached)
	if err != nil {
		return err
	}
	var failed error
	present := make(map[store.Key]bool, len(list.Names))
	for _, name := range list.Names {
		if !IsBlobName(name) {
			continue
		}
		key := barrier.KeyBlobs + "/" + name
		present[key] = true
		first, met := seen[key]
		if !met {
			seen[key] = now
			continue
		}
		if now.Sub(first) < CollectAfter {
			continue
		}
		seen[key] = now // whatever the result, not again for a while
		err := c.collectBlob(ctx, key)
		c.barrier.Damage().Met(key, err)
		switch {
		case err == nil || errors.Is(err, barrier.ErrCorrupt):
		case errors.Is(err, store.ErrUnavailable):
			return err
		default:
			failed = err // of this blob, but not of the next
		}
	}
	for key := range seen {
		if !present[key] {
			delete(seen, key)
		}
	}
	return failed
}

// collectBlob removes one blob if no secret names it. It first changes the
// blob's version and then reads the secret: a write that is only slow fails at
// its check of the blob, and never ends up without its pieces. ErrCorrupt: the
// blob, or the secret that may name it, is left alone.
func (c *Collector) collectBlob(ctx context.Context, key store.Key) error {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	node, err := c.backend.Get(ctx, key, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return c.pieces.remove(ctx, key) // pieces without a head
	}
	if err != nil {
		return barrier.ReadError(key, err)
	}
	h, id, err := c.pieces.OpenHead(key, node.Data)
	if errors.Is(err, barrier.ErrUnknownTerm) {
		// Of a rotation that this server has not heard of, or made up.
		return barrier.Corrupt(key, err)
	}
	if err != nil {
		return err
	}
	at, err := c.barrier.Locate(h.Path)
	if err != nil {
		return err
	}
	if named, err := c.named(ctx, at, id); named || err != nil {
		return err
	}
	versions, err := c.backend.Apply(ctx, store.Set(key, node.Data, node.Version))
	if err != nil {
		return barrier.ReadError(key, err)
	}
	node.Version = versions[0]
	if named, err := c.named(ctx, at, id); named || err != nil {
		return err
	}
	c.log.Info("collecting the pieces of a write that was never finished", zap.String("record", key))
	return c.pieces.removeAt(ctx, key, node)
}
