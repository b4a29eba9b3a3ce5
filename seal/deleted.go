package seal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

// A deleted secret is kept as it was, with its earlier values and its pieces, in
// a place beside the secrets (a tombstone). One transaction moves it there, and
// one brings it back: nothing restarts, neither the value id nor the version. A
// create does not look there, and the next delete takes the place over.

// UndeleteFor is how long a deleted secret can be undeleted.
const UndeleteFor = 30 * 24 * time.Hour

// readDeleted reads what the delete of a secret has left. ErrNotFound if there
// is nothing that could be undeleted.
func (s *Store) readDeleted(ctx context.Context, p acl.Path, c store.Consistency) (*head, error) {
	h, err := s.readRecord(ctx, p, true, c)
	if err == nil && h.expired(time.Now()) {
		return nil, ErrNotFound
	}
	return h, err
}

// expired reports whether a deleted secret can be undeleted no more.
func (h *head) expired(now time.Time) bool { return now.Sub(h.deleted) >= UndeleteFor }

// deletedPlace binds a tombstone to its key, which stands for the path: it can be
// opened without knowing that, when the folder has long gone.
func deletedPlace(o *opened, key store.Key) envelope.Place {
	return envelope.Place{Store: o.uuid, Kind: envelope.KindDeleted, Path: key}
}

// appendDeleted appends what the plaintext of a tombstone has before the payload:
// uint64, when the secret was deleted, in nanoseconds since 1970.
func appendDeleted(b []byte, when time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, nanoseconds(when))
}

// openDeleted decrypts a tombstone into h.
func (h *head) openDeleted(o *opened, data []byte) error {
	plain, header, err := o.openRecord(h.key, deletedPlace(o, h.key), data)
	if err != nil {
		return err
	}
	if len(plain) < 8 {
		return corrupt(h.key, errBadPayload)
	}
	if h.deleted = fromNanoseconds(binary.BigEndian.Uint64(plain)); h.deleted.IsZero() {
		return corrupt(h.key, errBadPayload)
	}
	return h.decode(header, plain[8:])
}

// Delete removes a secret, which Undelete brings back for a while. ErrNotFound,
// ErrChanged, ErrSealed, store.ErrUnavailable, store.ErrOutcomeUnknown.
func (s *Store) Delete(ctx context.Context, p acl.Path, when Match) error {
	return s.deleteAt(ctx, p, when, time.Now().UTC())
}

func (s *Store) deleteAt(ctx context.Context, p acl.Path, when Match, now time.Time) error {
	var before *head // what an earlier delete has left
	for {
		old, err := s.replace(ctx, p, s.readHead, when, func(o *opened, m mark, old *head) ([]store.Op, error) {
			gone := *old
			gone.folder, gone.key, gone.deleted = deletedKey(old.folder), deletedKey(old.key), now
			data, err := gone.seal(o, p)
			if err != nil {
				return nil, err
			}
			folderData, err := o.names.sealFolder(p.Folder().String())
			if err != nil {
				return nil, err
			}
			put := store.Create(gone.key, data)
			if before != nil {
				put = store.Set(gone.key, data, before.revision)
			}
			// Deletes without a condition do not hold each other up: were the secret
			// deleted and made again meanwhile, the tombstone would have changed.
			bump := s.bump(old.folder)
			if when != nil {
				bump = s.bumpIf(m, old.folder)
			}
			return append(bump, store.Delete(old.key, old.revision), store.Ensure(gone.folder, folderData), put), nil
		})
		var refused *store.OpError
		switch {
		case err == nil:
			s.discardPieces(before)
			s.pruneFolder(old.folder)
			return nil
		case !errors.As(err, &refused) || refused.Key != deletedKey(old.key):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("the secret kept changing: %w", store.ErrUnavailable)
		}
		if before, err = s.readIfThere(ctx, p, true); err != nil {
			return err
		}
	}
}

// Undelete brings back a deleted secret as it was, and returns its value id.
// ErrNotFound if there is none, or none that was deleted within UndeleteFor;
// ErrExists if another has been created in its place; and the errors of Delete.
func (s *Store) Undelete(ctx context.Context, p acl.Path) (id string, err error) {
	folder, key, err := s.keysOf(p)
	if err != nil {
		return "", err
	}
	leave, err := s.writers.enter(ctx, key)
	if err != nil {
		return "", err
	}
	defer leave()
	for c := store.Cached; ; c = store.Latest {
		m, err := s.markOf(ctx, folder, c)
		if err != nil {
			return "", err
		}
		var gone *head
		var blob store.Node // of its pieces, if it has any
		err = s.settle(ctx, store.Latest, func(c store.Consistency) (err error) {
			if gone, err = s.readDeleted(ctx, p, c); err == nil && gone.inPieces() {
				blob, err = s.readBlob(ctx, p, gone)
			}
			return err
		})
		if errors.Is(err, ErrNotFound) {
			if taken := s.mustExist(ctx, p, false); taken != nil {
				return "", taken // says more
			}
			return "", err
		}
		if err != nil {
			return "", err
		}
		err = s.undelete(ctx, p, m, gone, blob)
		var refused *store.OpError
		switch {
		case err == nil:
			s.pruneFolder(gone.folder)
			return idString(gone.id), nil
		case !errors.As(err, &refused):
			return "", err
		case errors.Is(err, store.ErrExists):
			return "", ErrExists
		case ctx.Err() != nil:
			return "", fmt.Errorf("the secret kept changing: %w", store.ErrUnavailable)
		}
	}
}

// readBlob reads the head of the pieces that a tombstone names.
func (s *Store) readBlob(ctx context.Context, p acl.Path, gone *head) (store.Node, error) {
	key := blobKey(gone.id)
	blob, err := s.backend.Get(ctx, key, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return store.Node{}, s.confirmLost(ctx, p, gone, &missingPiece{key})
	}
	if err != nil {
		return store.Node{}, fmt.Errorf("read %s: %w", key, err)
	}
	return blob, nil
}

// undelete moves a tombstone back in one transaction.
func (s *Store) undelete(ctx context.Context, p acl.Path, m mark, gone *head, blob store.Node) error {
	return s.commit(ctx, func(o *opened) ([]store.Op, error) {
		back := *gone
		back.deleted = time.Time{}
		var err error
		if back.folder, back.key, err = o.names.secretKey(p); err != nil {
			return nil, err
		}
		folderData, err := o.names.sealFolder(p.Folder().String())
		if err != nil {
			return nil, err
		}
		data, err := back.seal(o, p)
		ops := append(m.check(), store.Ensure(back.folder, folderData), store.Create(back.key, data), store.Delete(gone.key, gone.revision))
		if gone.inPieces() {
			// Changing the blob keeps the collector from removing it, which may not
			// have found its secret in either place.
			ops = append(ops, store.Set(blobKey(gone.id), blob.Data, blob.Version))
		}
		return ops, err
	})
}

// Purge removes a secret, deleted or not, so that nothing of it is left: its
// earlier values, what an earlier delete has left of it, and all pieces. If it
// ends with store.ErrOutcomeUnknown and the records have gone, pieces that are
// left belong to nobody and are collected later. ErrNotFound if there is
// nothing at all, and the errors of Delete.
func (s *Store) Purge(ctx context.Context, p acl.Path, when Match) error {
	folder, key, err := s.keysOf(p)
	if err != nil {
		return err
	}
	leave, err := s.writers.enter(ctx, key)
	if err != nil {
		return err
	}
	defer leave()
	for c := store.Cached; ; c = store.Latest {
		m, err := s.markOf(ctx, folder, c)
		if err != nil {
			return err
		}
		there, err := s.bothRecords(ctx, p)
		if err != nil {
			return err
		}
		if when != nil && !when(idString(there[0].id)) {
			return ErrChanged
		}
		err = s.commit(ctx, func(*opened) ([]store.Op, error) {
			// Of a secret that was only deleted before, the mark tells already.
			ops := m.check()
			if there[0].deleted.IsZero() {
				ops = s.bumpIf(m, folder)
			}
			for _, h := range there {
				ops = append(ops, store.Delete(h.key, h.revision))
			}
			return ops, nil
		})
		var refused *store.OpError
		switch {
		case err == nil:
			return s.purgePieces(ctx, there)
		case !errors.As(err, &refused):
			return err
		case errors.Is(err, store.ErrNotEmpty):
			return corrupt(refused.Key, err) // a foreign record below it
		case ctx.Err() != nil:
			return fmt.Errorf("the secret kept changing: %w", store.ErrUnavailable)
		}
	}
}

// bothRecords returns the secret and what an earlier delete has left, as many as
// there are. ErrNotFound if there are none.
func (s *Store) bothRecords(ctx context.Context, p acl.Path) (there []*head, err error) {
	for _, deleted := range []bool{false, true} {
		h, err := s.readIfThere(ctx, p, deleted)
		if err != nil {
			return nil, err
		}
		if h != nil {
			there = append(there, h)
		}
	}
	if len(there) == 0 {
		return nil, ErrNotFound
	}
	return there, nil
}

// readIfThere is readRecord from the storage itself; nil if there is none.
func (s *Store) readIfThere(ctx context.Context, p acl.Path, deleted bool) (h *head, err error) {
	err = s.settle(ctx, store.Latest, func(c store.Consistency) (err error) {
		h, err = s.readRecord(ctx, p, deleted, c)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return h, err
}

// purgePieces removes what was beside the records, before the answer.
func (s *Store) purgePieces(ctx context.Context, gone []*head) error {
	for _, h := range gone {
		s.pruneFolder(h.folder)
		if !h.inPieces() {
			continue
		}
		if err := s.removeBlob(ctx, blobKey(h.id)); err != nil {
			s.discardPieces(h)
			return fmt.Errorf("the pieces of the value (%w): %w", err, store.ErrOutcomeUnknown)
		}
	}
	return nil
}
