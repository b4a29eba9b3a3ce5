package seal

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

const (
	// collectEvery is how often orphaned blobs are looked for.
	collectEvery = time.Minute
	// collectAfter is how long a blob is left alone after this server has first
	// seen it without a secret that names it: longer than any write takes.
	collectAfter = 10 * time.Minute
	// collectTimeout bounds the work on one blob.
	collectTimeout = 30 * time.Second
)

// collect removes the pieces of values whose write was never committed, and the
// uses of task tokens that have expired, until the context ends.
func (s *Store) collect(ctx context.Context) {
	seen := make(map[store.Key]time.Time)
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !s.barrier.isOpen() {
			continue
		}
		if err := s.collectOnce(ctx, seen, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("orphaned pieces were not collected; trying again", zap.Error(err))
		}
		if err := s.collectTasks(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("the uses of expired task tokens were not collected; trying again", zap.Error(err))
		}
	}
}

// collectOnce looks at every blob. seen holds when each was first met, and is
// brought up to date.
func (s *Store) collectOnce(ctx context.Context, seen map[store.Key]time.Time, now time.Time) error {
	list, err := s.backend.Children(ctx, keyBlobs, store.Cached)
	if err != nil {
		return err
	}
	present := make(map[store.Key]bool, len(list.Names))
	for _, name := range list.Names {
		key := keyBlobs + "/" + name
		present[key] = true
		first, met := seen[key]
		if !met {
			seen[key] = now
			continue
		}
		if now.Sub(first) < collectAfter {
			continue
		}
		seen[key] = now // whatever comes of it, not again for a while
		if err := s.collectBlob(ctx, key); err != nil {
			return err
		}
	}
	for key := range seen {
		if !present[key] {
			delete(seen, key)
		}
	}
	return nil
}

// collectBlob removes one blob if no secret names it. It first changes the
// blob's version and then reads the secret: a write that is only slow fails at
// its check of the blob, and is never left without its pieces.
func (s *Store) collectBlob(ctx context.Context, key store.Key) error {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	node, err := s.backend.Get(ctx, key, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return s.removeBlob(ctx, key) // pieces without a head
	}
	if err != nil {
		return err
	}
	h, id, err := s.openBlobHead(key, node.Data)
	if errors.Is(err, ErrCorrupt) {
		s.log.Warn("a foreign record among the pieces is left alone", zap.String("record", key))
		return nil
	}
	if err != nil {
		return err
	}
	if named, err := s.names(ctx, h.path, id); named || err != nil {
		return err
	}
	versions, err := s.backend.Apply(ctx, store.Set(key, node.Data, node.Version))
	if err != nil {
		return err
	}
	node.Version = versions[0]
	if named, err := s.names(ctx, h.path, id); named || err != nil {
		return err
	}
	s.log.Info("collecting the pieces of a write that was never finished", zap.String("record", key))
	return s.removeBlobAt(ctx, key, node)
}

// names reports whether the secret's present value, or that of the deleted
// secret, is the blob id. A delete between the two looks is seen by the second;
// an undelete changes the blob, so that whoever missed it fails at its version.
func (s *Store) names(ctx context.Context, p acl.Path, id envelope.ID) (bool, error) {
	for _, deleted := range []bool{false, true} {
		h, err := s.readRecord(ctx, p, deleted, store.Latest)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil || h.id == id && h.inPieces() {
			return err == nil, err
		}
	}
	return false, nil
}

func (s *Store) openBlobHead(key store.Key, data []byte) (h blobHead, id envelope.ID, err error) {
	err = s.use(func(o *opened) error {
		plain, header, err := o.openRecord(key, blobPlace(o, key), data)
		if err != nil {
			return err
		}
		id = header.ID
		if h, err = decodeBlobHead(plain); err != nil {
			return corrupt(key, err)
		}
		return nil
	})
	return h, id, err
}

// pruneFolder has the record of a folder removed that has no secrets left. A
// create in the same folder makes it anew in its own transaction, so losing this
// race is harmless, and a folder that stays behind only costs its place.
func (s *Store) pruneFolder(folder store.Key) {
	s.chores.add(func(ctx context.Context) {
		left, err := s.backend.Children(ctx, folder, store.Cached)
		if err != nil || len(left.Names) > 0 {
			return
		}
		_ = s.removeRecord(ctx, folder)
	})
}
