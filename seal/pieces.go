package seal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

// A value larger than inlineMax is written as pieces first, under a blob named
// by its value id, and becomes visible with the one transaction that writes the
// secret's record and checks that the blob is still there. Whatever stops in
// between leaves a blob that nobody names; collect.go removes it.

// pieceWriters is how many transactions of a large value are under way at once.
const pieceWriters = 4

func blobKey(id envelope.ID) store.Key { return keyBlobs + "/" + idString(id) }

func pieceKey(id envelope.ID, i uint32) store.Key { return fmt.Sprintf("%s/%06d", blobKey(id), i) }

// withPieces writes the pieces of h's value where it is large, and calls commit
// with the operations that its transaction must begin with.
//
// The pieces may have been collected, or re-encrypted under a new key, before
// the commit: then they are written again.
func (s *Store) withPieces(ctx context.Context, p acl.Path, h *head, commit func([]store.Op) error) error {
	if len(h.value) <= inlineMax {
		return commit(nil)
	}
	value := h.value
	for {
		h.value, h.size = nil, uint64(len(value))
		version, err := s.writePieces(ctx, p, h.id, value)
		if err == nil {
			err = commit([]store.Op{store.Check(blobKey(h.id), version)})
		} else if errors.Is(err, store.ErrOutcomeUnknown) {
			// Of a piece: that the secret was not written is certain.
			err = fmt.Errorf("the pieces of the value: %w", store.ErrUnavailable)
		}
		if err == nil || errors.Is(err, store.ErrOutcomeUnknown) {
			return err
		}
		s.discardPieces(h)
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Key != blobKey(h.id) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the pieces of the value: %w", store.ErrUnavailable)
		}
		h.id = envelope.NewID()
	}
}

func (s *Store) writePieces(ctx context.Context, p acl.Path, id envelope.ID, value []byte) (store.Version, error) {
	count := pieceCount(uint64(len(value)))
	version, err := s.writeBlobHead(ctx, id, blobHead{path: p, pieces: count})
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pieceWriters)
	for i := range count {
		part := value[i*pieceSize : min(len(value), int(i+1)*pieceSize)]
		group.Go(func() error {
			return s.commit(ctx, func(o *opened) ([]store.Op, error) {
				data := envelope.Seal(o.ring.terms[o.ring.active], piecePlace(o, p, i, count),
					envelope.Header{Kind: envelope.KindPiece, Term: o.ring.active, ID: id}, part)
				// The check keeps a late piece from outliving its blob.
				return []store.Op{store.Check(blobKey(id), version), store.Create(pieceKey(id, i), data)}, nil
			})
		})
	}
	return version, group.Wait()
}

// blobHead is the plaintext of a blob's own record: what whoever finds the
// blob needs to know of it. Encoded: uint32 pieces, then the path.
type blobHead struct {
	path   acl.Path
	pieces uint32
}

func (h blobHead) encode() []byte {
	return append(binary.BigEndian.AppendUint32(nil, h.pieces), h.path.String()...)
}

func decodeBlobHead(plain []byte) (h blobHead, err error) {
	if len(plain) < 4 {
		return blobHead{}, errBadPayload
	}
	h.pieces = binary.BigEndian.Uint32(plain)
	h.path, err = acl.ParsePath(string(plain[4:])) // as it was parsed when it was written
	return h, err
}

// writeBlobHead records which secret the pieces will belong to.
func (s *Store) writeBlobHead(ctx context.Context, id envelope.ID, h blobHead) (store.Version, error) {
	var ops []store.Op
	err := s.use(func(o *opened) error {
		data := envelope.Seal(o.ring.terms[o.ring.active], blobPlace(o, blobKey(id)),
			envelope.Header{Kind: envelope.KindBlob, Term: o.ring.active, ID: id}, h.encode())
		ops = append(o.checks(), store.Create(blobKey(id), data))
		return nil
	})
	if err != nil {
		return 0, err
	}
	versions, err := s.backend.Apply(ctx, ops...)
	var refused *store.OpError
	if errors.As(err, &refused) {
		// A seal or a new keyring in this very moment; the id cannot exist.
		return 0, fmt.Errorf("the keys have just changed: %w", store.ErrUnavailable)
	}
	if err != nil {
		return 0, err
	}
	return versions[writeChecks], nil
}

func blobPlace(o *opened, key store.Key) envelope.Place {
	return envelope.Place{Store: o.uuid, Kind: envelope.KindBlob, Path: key}
}

func piecePlace(o *opened, p acl.Path, i, count uint32) envelope.Place {
	return envelope.Place{Store: o.uuid, Kind: envelope.KindPiece, Path: p.String(), Piece: i, Pieces: count}
}

// missingPiece is told when a record names a piece that is not there: the
// secret was overwritten or deleted since the record was read, or the piece is
// lost. It matches errLookAgain.
type missingPiece struct{ key store.Key }

func (e *missingPiece) Error() string { return "no piece " + e.key }

func (e *missingPiece) Unwrap() error { return errLookAgain }

// readPieces puts a large value together. *missingPiece.
func (s *Store) readPieces(ctx context.Context, p acl.Path, h *head, c store.Consistency) ([]byte, error) {
	value := make([]byte, h.size)
	count := pieceCount(h.size)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(pieceWriters)
	for i := range count {
		into := value[i*pieceSize : min(len(value), int(i+1)*pieceSize)]
		group.Go(func() error { return s.readPiece(ctx, p, h, i, c, into) })
	}
	return value, group.Wait()
}

func (s *Store) readPiece(ctx context.Context, p acl.Path, h *head, i uint32, c store.Consistency, into []byte) error {
	key, count := pieceKey(h.id, i), pieceCount(h.size)
	node, err := s.backend.Get(ctx, key, c)
	if errors.Is(err, store.ErrNotFound) {
		return &missingPiece{key}
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return s.use(func(o *opened) error {
		plain, header, err := o.openRecord(key, piecePlace(o, p, i, count), node.Data)
		if err != nil {
			return err
		}
		if header.ID != h.id || len(plain) != len(into) {
			return corrupt(key, errBadPayload)
		}
		copy(into, plain)
		clear(plain)
		return nil
	})
}

// discardPieces has the pieces of a value removed that no record names any
// more.
func (s *Store) discardPieces(h *head) {
	if h != nil && h.inPieces() {
		key := blobKey(h.id)
		s.chores.add(func(ctx context.Context) { _ = s.removeBlob(ctx, key) })
	}
}

// removeBatch is how many records one transaction removes.
const removeBatch = 64

// removeBlob deletes a blob and its pieces.
func (s *Store) removeBlob(ctx context.Context, blob store.Key) error {
	head, err := s.backend.Get(ctx, blob, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return s.removeTree(ctx, blob)
	}
	if err != nil {
		return err
	}
	return s.removeBlobAt(ctx, blob, head)
}

// removeBlobAt deletes a blob, while it is as it was read, and its pieces. It
// changes the head first, so that a piece or a commit that is still on its way
// fails at its check. Somebody else may be doing the same; then what is left is
// left to them.
func (s *Store) removeBlobAt(ctx context.Context, blob store.Key, head store.Node) error {
	_, err := s.backend.Apply(ctx, store.Set(blob, head.Data, head.Version))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return s.removeTree(ctx, blob)
}

// removeTree deletes a record and those directly below it.
func (s *Store) removeTree(ctx context.Context, parent store.Key) error {
	below, err := s.backend.Children(ctx, parent, store.Latest)
	if err != nil {
		return err
	}
	for names := range slices.Chunk(below.Names, removeBatch) {
		var ops []store.Op
		for _, name := range names {
			node, err := s.backend.Get(ctx, parent+"/"+name, store.Latest)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			ops = append(ops, store.Delete(parent+"/"+name, node.Version))
		}
		if len(ops) == 0 {
			continue
		}
		if _, err := s.backend.Apply(ctx, ops...); err != nil {
			return err
		}
	}
	return s.removeRecord(ctx, parent)
}

// removeRecord deletes a record in whatever version it is.
func (s *Store) removeRecord(ctx context.Context, key store.Key) error {
	node, err := s.backend.Get(ctx, key, store.Cached)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.backend.Apply(ctx, store.Delete(key, node.Version))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
