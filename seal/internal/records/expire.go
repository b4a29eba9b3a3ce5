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
	folders, found, err := c.barrier.FolderKeys(ctx, barrier.KeyDeleted, store.Cached)
	if err != nil {
		return err
	}
	present := make(map[store.Key]bool, len(due))
	for _, folder := range folders {
		names, err := c.barrier.Children(ctx, folder, store.Cached)
		if found.Skip(err) {
			continue
		}
		if err != nil {
			return err
		}
		found.Foreign += names.Foreign
		for _, name := range names.Names {
			if !barrier.IsSecretName(name) {
				found.Foreign++
				continue
			}
			key := folder + "/" + name
			present[key] = true
			at, known := due[key]
			if known && now.Before(at) {
				continue
			}
			at, err := c.expireRecord(ctx, barrier.Location{Folder: folder, Key: key}, now)
			if found.Skip(err) {
				delete(due, key) // so that the next round looks again
				continue
			}
			if err != nil {
				return err
			}
			if known || len(due) < maxDue {
				due[key] = at
			}
		}
	}
	c.barrier.Damage().Report(barrier.KeyDeleted, found)
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
			return time.Time{}, barrier.ReadError(at.Key, err)
		}
		rec.version = node.Version
		err = c.barrier.Use(func(k *barrier.Keys) error { return rec.open(k, true, node.Data) })
		if errors.Is(err, barrier.ErrUnknownTerm) {
			// Of a rotation that this server has not heard of, or made up.
			return time.Time{}, barrier.Corrupt(at.Key, err)
		}
		if err != nil {
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
	switch {
	case errors.Is(err, store.ErrNotEmpty), errors.Is(err, store.ErrUnusable):
		return time.Time{}, barrier.Corrupt(at.Key, err)
	case errors.As(err, &refused):
		return now, nil // another server was first
	case err != nil:
		return time.Time{}, err
	}
	c.pieces.discard(rec)
	c.cleanup.pruneFolder(at.Folder)
	return now, nil
}
