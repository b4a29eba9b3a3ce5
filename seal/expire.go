package seal

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"secretstore/store"
)

const (
	// expireEvery is how often deleted secrets are looked at, whether their time
	// is over; the first time after one to two expireFirst.
	expireEvery = time.Hour
	expireFirst = time.Minute
	// maxDue bounds the deleted secrets whose time is remembered, at some 200 bytes
	// each; of others it is read each time.
	maxDue = 1 << 17
)

// expire removes what can be undeleted no more, until the context ends. All
// servers do; each removal is conditional, so that they do not meet.
func (s *Store) expire(ctx context.Context) {
	due := make(map[store.Key]time.Time)
	wait := time.NewTimer(expireFirst + rand.N(expireFirst))
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		if s.barrier.isOpen() {
			if err := s.expireOnce(ctx, due, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Warn("deleted secrets whose time is over were not removed; trying again", zap.Error(err))
			}
		}
		wait.Reset(expireEvery + rand.N(expireFirst))
	}
}

// expireOnce looks at every deleted secret. due holds when the time of each is
// over, as far as it is known, and is brought up to date: a secret that was
// deleted once more since is only looked at too early.
func (s *Store) expireOnce(ctx context.Context, due map[store.Key]time.Time, now time.Time) error {
	folders, err := s.folderKeys(ctx, keyDeleted, store.Cached)
	if err != nil {
		return err
	}
	present := make(map[store.Key]bool, len(due))
	for _, folder := range folders {
		names, err := s.children(ctx, folder, store.Cached)
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
			at, err := s.expireRecord(ctx, folder, key, now)
			if errors.Is(err, ErrCorrupt) {
				s.log.Warn("a deleted secret that does not open is left alone", zap.String("record", key))
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

// expireRecord removes one deleted secret if its time is over, and returns when
// that is.
func (s *Store) expireRecord(ctx context.Context, folder, key store.Key, now time.Time) (due time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	h := &head{key: key, folder: folder}
	// Before it is removed the storage itself is asked: on ZooKeeper another, which
	// has taken its place since it was cached, may have the same version.
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		node, err := s.backend.Get(ctx, key, c)
		if errors.Is(err, store.ErrNotFound) {
			return now, nil
		}
		if err != nil {
			return time.Time{}, err
		}
		h.revision = node.Version
		if err := s.use(func(o *opened) error { return h.openDeleted(o, node.Data) }); err != nil {
			return time.Time{}, err
		}
		if !h.expired(now) {
			return h.deleted.Add(UndeleteFor), nil
		}
	}
	err = s.commit(ctx, func(*opened) ([]store.Op, error) { return []store.Op{store.Delete(key, h.revision)}, nil })
	var refused *store.OpError
	if errors.As(err, &refused) {
		return now, nil // somebody else was first
	}
	if err != nil {
		return time.Time{}, err
	}
	s.discardPieces(h)
	s.pruneFolder(folder)
	return now, nil
}
