package records

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

const (
	// expireEvery is how often deleted secrets are checked for expiry; the first
	// time after one to two expireFirst.
	expireEvery = time.Hour
	expireFirst = time.Minute
	// maxDue bounds the deleted secrets whose expiry is remembered, at some 200
	// bytes each; that of others is read each time.
	maxDue = 1 << 17
)

// RunExpiry removes deleted secrets that can no longer be undeleted, until the
// context ends. All servers do; each removal is conditional, so they do not
// disturb each other.
func (c *Collector) RunExpiry(ctx context.Context) {
	due := make(map[store.Key]time.Time)
	wait := time.NewTimer(expireFirst + rand.N(expireFirst))
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		if c.barrier.IsOpen() {
			if err := c.Expire(ctx, due, time.Now()); err != nil && ctx.Err() == nil {
				c.log.Warn("could not remove expired deleted secrets; retrying", zap.Error(err))
			}
		}
		wait.Reset(expireEvery + rand.N(expireFirst))
	}
}

// Expire checks every deleted secret once, as of now. due holds when each
// expires, as far as known, and is brought up to date; a secret that was
// deleted again since is only checked too early.
func (c *Collector) Expire(ctx context.Context, due map[store.Key]time.Time, now time.Time) error {
	folders, err := c.barrier.FolderKeys(ctx, barrier.KeyDeleted, store.Cached)
	if err != nil {
		return err
	}
	present := make(map[store.Key]bool, len(due))
	for _, folder := range folders {
		names, err := c.barrier.Children(ctx, folder, store.Cached)
		if err != nil {
			return err
		}
		for _, name := range names.Names {
			key := folder + "/" + name
			present[key] = true
			at, known := due[key]
			if known && now.Before(at) {
				continue
			}
			at, err := c.expireRecord(ctx, barrier.Location{Folder: folder, Key: key}, now)
			if errors.Is(err, barrier.ErrCorrupt) {
				c.log.Warn("a deleted secret that does not open is left alone", zap.String("record", key))
				at, err = now.Add(UndeleteFor), nil
			}
			if err != nil {
				return err
			}
			if known || len(due) < maxDue {
				due[key] = at
			}
		}
	}
	for key := range due {
		if !present[key] {
			delete(due, key)
		}
	}
	return nil
}

// expireRecord removes the deleted secret at a location if it has expired, and
// returns when it does.
func (c *Collector) expireRecord(ctx context.Context, at barrier.Location, now time.Time) (due time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	rec := &secretRecord{at: at}
	// The storage itself decides: on ZooKeeper another record, which has taken the
	// place of the cached one, may have the same version.
	for _, consistency := range []store.Consistency{store.Cached, store.Latest} {
		node, err := c.backend.Get(ctx, at.Key, consistency)
		if errors.Is(err, store.ErrNotFound) {
			return now, nil
		}
		if err != nil {
			return time.Time{}, err
		}
		rec.version = node.Version
		if err := c.barrier.Use(func(k *barrier.Keys) error { return rec.open(k, true, node.Data) }); err != nil {
			return time.Time{}, err
		}
		if !rec.expired(now) {
			return rec.deleted.Add(UndeleteFor), nil
		}
	}
	err = c.barrier.Commit(ctx, func(*barrier.Keys) ([]store.Op, error) {
		return []store.Op{store.Delete(at.Key, rec.version)}, nil
	})
	var refused *store.OpError
	if errors.As(err, &refused) {
		return now, nil // another server was first
	}
	if err != nil {
		return time.Time{}, err
	}
	c.pieces.discard(rec)
	c.cleanup.pruneFolder(at.Folder)
	return now, nil
}
