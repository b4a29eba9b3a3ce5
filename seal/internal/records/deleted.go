package records

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// A deleted secret is kept as it was, with its earlier values and its pieces,
// in a place beside the secrets (its record there is the tombstone). One
// transaction moves it there, and one brings it back: neither the value id nor
// the version starts again. A create does not look there, and the next delete
// overwrites the tombstone.

// UndeleteFor is how long a deleted secret can be undeleted.
const UndeleteFor = 30 * 24 * time.Hour

// expired reports whether a deleted secret can no longer be undeleted.
func (r *secretRecord) expired(now time.Time) bool { return now.Sub(r.deleted) >= UndeleteFor }

// Delete removes a secret; Undelete brings it back for a while. ErrNotFound,
// ErrChanged, ErrSealed, store.ErrUnavailable, store.ErrOutcomeUnknown.
func (s *Secrets) Delete(ctx context.Context, p acl.Path, match Match) error {
	return DeleteAt(ctx, s, p, match, time.Now().UTC())
}

// DeleteAt is Delete at a time of the caller's choice. It is for tests.
func DeleteAt(ctx context.Context, s *Secrets, p acl.Path, match Match, now time.Time) error {
	at, err := s.barrier.Locate(p)
	if err != nil {
		return err
	}
	var before *secretRecord // the tombstone of an earlier delete
	for {
		old, err := s.replace(ctx, at, s.reader.read, match, func(k *barrier.Keys, g Generation, old *secretRecord) ([]store.Op, error) {
			tombstone := *old
			tombstone.at, tombstone.deleted = at.Deleted(), now
			data, err := tombstone.seal(k)
			if err != nil {
				return nil, err
			}
			folder, err := k.SealFolder(p.Folder().String())
			if err != nil {
				return nil, err
			}
			put := store.Create(tombstone.at.Key, data)
			if before != nil {
				put = store.Set(tombstone.at.Key, data, before.version)
			}
			// Deletes without a condition do not block each other: had the secret been
			// deleted and created again meanwhile, the tombstone would have changed.
			remove := s.generations.deleteOps(old)
			if match != nil {
				remove = s.generations.deleteIfOps(g, old)
			}
			return append(remove, store.Ensure(tombstone.at.Folder, folder), put), nil
		})
		var refused *store.OpError
		switch {
		case err == nil:
			s.pieces.discard(before)
			s.cleanup.pruneFolder(old.at.Folder)
			return nil
		case !errors.As(err, &refused) || refused.Key != at.Deleted().Key:
			return err
		case ctx.Err() != nil:
			return errKeptChanging
		}
		if before, err = s.reader.readIfPresent(ctx, at, true); err != nil {
			return err
		}
	}
}

// Undelete brings back a deleted secret as it was.
// ErrNotFound if there is none, or none that was deleted within UndeleteFor;
// ErrExists if another has been created in its place; and the errors of Delete.
func (s *Secrets) Undelete(ctx context.Context, p acl.Path) (Written, error) {
	at, err := s.barrier.Locate(p)
	if err != nil {
		return Written{}, err
	}
	leave, err := s.writers.Enter(ctx, at.Key)
	if err != nil {
		return Written{}, err
	}
	defer leave()
	for c := store.Cached; ; c = store.Latest {
		g, err := s.generations.Of(ctx, at.Folder, c)
		if err != nil {
			return Written{}, err
		}
		tombstone, blob, err := s.readTombstone(ctx, at)
		if errors.Is(err, ErrNotFound) {
			if exists := s.reader.checkExists(ctx, at, false); exists != nil {
				return Written{}, exists // says more
			}
			return Written{}, err
		}
		if err != nil {
			return Written{}, err
		}
		err = s.undelete(ctx, at, g, tombstone, blob)
		var refused *store.OpError
		switch {
		case err == nil:
			s.cleanup.pruneFolder(tombstone.at.Folder)
			return tombstone.result(), nil
		case !errors.As(err, &refused):
			return Written{}, err
		case errors.Is(err, store.ErrExists):
			return Written{}, ErrExists
		case ctx.Err() != nil:
			return Written{}, errKeptChanging
		}
	}
}

// listReaders is how many deleted secrets are read at once.
const listReaders = 16

// Undeletable returns those of the names in a folder, of deleted secrets, that
// Undelete would bring back: they have not expired, and no other secret has been
// created in their place. skipped reports that a damaged one was left out; with
// store.Latest it is an error. The errors are those of Get.
func (s *Secrets) Undeletable(ctx context.Context, folder acl.Path, names []string, c store.Consistency) (found []string, skipped bool, err error) {
	can, damaged := make([]bool, len(names)), make([]bool, len(names))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(listReaders)
	for i, name := range names {
		group.Go(func() (err error) {
			p, err := acl.ParsePath(folder.String() + "/" + name)
			if err != nil {
				return err
			}
			can[i], err = s.undeletable(groupCtx, p, c)
			if damaged[i] = errors.Is(err, barrier.ErrCorrupt) && c != store.Latest; damaged[i] {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, false, err
	}
	found = []string{}
	for i, name := range names {
		if can[i] {
			found = append(found, name)
		}
	}
	return found, slices.Contains(damaged, true), nil
}

// undeletable reports whether Undelete would bring back the secret at p.
func (s *Secrets) undeletable(ctx context.Context, p acl.Path, c store.Consistency) (bool, error) {
	at, err := s.barrier.Locate(p)
	if err != nil {
		return false, err
	}
	if _, err = s.reader.settled(ctx, at, c, s.reader.readDeleted); err != nil {
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return false, err
	}
	_, err = s.reader.settled(ctx, at, c, s.reader.read)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if errors.Is(err, barrier.ErrCorrupt) {
		err = nil // it exists
	}
	return false, err
}

// readTombstone reads a deleted secret, and the head of its pieces if it has
// any. ErrNotFound.
func (s *Secrets) readTombstone(ctx context.Context, at barrier.Location) (tombstone *secretRecord, blob store.Node, err error) {
	err = s.barrier.Settle(ctx, store.Latest, func(c store.Consistency) (err error) {
		tombstone, err = s.reader.readDeleted(ctx, at, c)
		if err != nil || !tombstone.inPieces() {
			return err
		}
		key := blobKey(tombstone.id)
		blob, err = s.backend.Get(ctx, key, store.Latest)
		if errors.Is(err, store.ErrNotFound) {
			return s.reader.confirmLost(ctx, at, tombstone, &missingPiece{key})
		}
		if err != nil {
			return barrier.ReadError(key, err)
		}
		return nil
	})
	return tombstone, blob, err
}

// undelete moves a tombstone back in one transaction.
func (s *Secrets) undelete(ctx context.Context, at barrier.Location, g Generation, tombstone *secretRecord, blob store.Node) error {
	return s.barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) {
		back := *tombstone
		back.at, back.deleted = at, time.Time{}
		folder, err := k.SealFolder(at.Path.Folder().String())
		if err != nil {
			return nil, err
		}
		data, err := back.seal(k)
		ops := append(g.Check(), store.Ensure(at.Folder, folder), store.Create(at.Key, data), store.Delete(tombstone.at.Key, tombstone.version))
		if tombstone.inPieces() {
			// Changing the blob keeps a collector from removing it that has found its
			// secret in neither place.
			ops = append(ops, store.Set(blobKey(tombstone.id), blob.Data, blob.Version))
		}
		return ops, err
	})
}

// Purge removes a secret, deleted or not, so that nothing of it is left:
// neither earlier values, nor a tombstone, nor pieces. If it ends with
// store.ErrOutcomeUnknown and the records are gone, pieces that are left belong
// to no secret and are collected later. ErrNotFound if there is nothing at all,
// and the errors of Delete.
func (s *Secrets) Purge(ctx context.Context, p acl.Path, match Match) error {
	at, err := s.barrier.Locate(p)
	if err != nil {
		return err
	}
	leave, err := s.writers.Enter(ctx, at.Key)
	if err != nil {
		return err
	}
	defer leave()
	for c := store.Cached; ; c = store.Latest {
		g, err := s.generations.Of(ctx, at.Folder, c)
		if err != nil {
			return err
		}
		found, err := s.reader.bothRecords(ctx, at)
		if err != nil {
			return err
		}
		if match != nil && !match(found[0].known) {
			return ErrChanged
		}
		err = s.barrier.Commit(ctx, func(*barrier.Keys) ([]store.Op, error) { return s.purgeOps(g, found), nil })
		var refused *store.OpError
		switch {
		case err == nil:
			return s.purgePieces(ctx, found)
		case !errors.As(err, &refused):
			return err
		case errors.Is(err, store.ErrNotEmpty):
			return barrier.Corrupt(refused.Key, err) // a foreign record below it
		case ctx.Err() != nil:
			return errKeptChanging
		}
	}
}

// purgeOps returns the operations that delete a secret, its tombstone, or both.
func (s *Secrets) purgeOps(g Generation, found []*secretRecord) []store.Op {
	ops := g.Check() // of a tombstone alone the delete has changed the generation already
	for _, rec := range found {
		if rec.deleted.IsZero() {
			ops = s.generations.deleteIfOps(g, rec) // comes first, and checks the generation
		} else {
			ops = append(ops, store.Delete(rec.at.Key, rec.version))
		}
	}
	return ops
}

// purgePieces removes the pieces of purged records before the answer.
func (s *Secrets) purgePieces(ctx context.Context, purged []*secretRecord) error {
	for _, rec := range purged {
		s.cleanup.pruneFolder(rec.at.Folder)
		if !rec.inPieces() {
			continue
		}
		if err := s.pieces.remove(ctx, blobKey(rec.id)); err != nil {
			s.pieces.discard(rec)
			return fmt.Errorf("%w: %w", ErrPiecesLeft, err)
		}
	}
	return nil
}
