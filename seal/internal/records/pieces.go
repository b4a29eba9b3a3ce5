package records

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// A value larger than inlineMax is written as pieces first, under a blob named
// by its value id. It becomes visible with the one transaction that writes the
// secret's record and checks that the blob still exists. Whatever stops in
// between leaves a blob that no record names; collect.go removes it.

// Pieces writes, reads and removes the pieces of large values.
type Pieces struct {
	backend store.Backend
	barrier *barrier.Barrier
	cleanup *Cleanup
}

// NewPieces returns the pieces in a backend.
func NewPieces(backend store.Backend, b *barrier.Barrier, c *Cleanup) *Pieces {
	return &Pieces{backend, b, c}
}

// parallelPieces is how many pieces of one value are read or written at once.
const parallelPieces = 4

func blobKey(id envelope.ID) store.Key { return barrier.KeyBlobs + "/" + idString(id) }

// IsBlobName reports whether a blob can have this name. Others are not of this
// program.
func IsBlobName(name string) bool {
	raw, err := hex.DecodeString(name)
	return err == nil && len(raw) == len(envelope.ID{}) && hex.EncodeToString(raw) == name
}

// IsPieceName reports whether a piece can have this name.
func IsPieceName(name string) bool {
	i, err := strconv.ParseUint(name, 10, 32)
	return err == nil && fmt.Sprintf("%06d", i) == name
}

func pieceKey(id envelope.ID, i uint32) store.Key { return fmt.Sprintf("%s/%06d", blobKey(id), i) }

// missingPiece means that a record names a piece that does not exist: the
// secret was overwritten or deleted since the record was read, or the piece is
// lost. It matches barrier.ErrReadAgain.
type missingPiece struct{ key store.Key }

func (e *missingPiece) Error() string { return "no piece " + e.key }

func (e *missingPiece) Unwrap() error { return barrier.ErrReadAgain }

// commitWith writes the pieces of rec's value if it is large, and calls commit
// with the operations that its transaction must begin with.
//
// The pieces may be collected, or encrypted under a new key, before the commit:
// then they are written again.
func (ps *Pieces) commitWith(ctx context.Context, rec *secretRecord, commit func([]store.Op) error) error {
	if len(rec.value) <= inlineMax {
		return commit(nil)
	}
	value := rec.value
	for {
		rec.value, rec.size = nil, uint64(len(value))
		version, err := ps.write(ctx, rec.at.Path, rec.id, value)
		if err == nil {
			err = commit([]store.Op{store.Check(blobKey(rec.id), version)})
		} else if errors.Is(err, store.ErrOutcomeUnknown) {
			// Of a piece: it is certain that the secret was not written.
			err = fmt.Errorf("the pieces of the value: %w", store.ErrUnavailable)
		}
		if err == nil || errors.Is(err, store.ErrOutcomeUnknown) {
			return err
		}
		ps.discard(rec)
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Key != blobKey(rec.id) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the pieces of the value: %w", store.ErrUnavailable)
		}
		rec.id = envelope.NewID()
	}
}

// write writes the pieces of a value and returns the version of their head.
func (ps *Pieces) write(ctx context.Context, p acl.Path, id envelope.ID, value []byte) (store.Version, error) {
	count := pieceCount(uint64(len(value)))
	versions, err := ps.barrier.CommitVersions(ctx, func(k *barrier.Keys) ([]store.Op, error) {
		head := k.Seal(k.BlobPlace(blobKey(id)), envelope.Header{ID: id}, BlobHead{Path: p, Pieces: count}.encode())
		return []store.Op{store.Create(blobKey(id), head)}, nil
	})
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelPieces)
	for i := range count {
		part := value[i*pieceSize : min(len(value), int(i+1)*pieceSize)]
		group.Go(func() error {
			return ps.barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) {
				data := k.Seal(k.PiecePlace(p, i, count), envelope.Header{ID: id}, part)
				// The check keeps a late piece from outliving its blob.
				return []store.Op{store.Check(blobKey(id), versions[0]), store.Create(pieceKey(id, i), data)}, nil
			})
		})
	}
	return versions[0], group.Wait()
}

// BlobHead is the plaintext of a blob's own record: it says which secret the
// pieces belong to. Encoded: uint32 pieces, then the path.
type BlobHead struct {
	Path   acl.Path
	Pieces uint32
}

func (h BlobHead) encode() []byte {
	return append(binary.BigEndian.AppendUint32(nil, h.Pieces), h.Path.String()...)
}

func decodeBlobHead(plain []byte) (h BlobHead, err error) {
	if len(plain) < 4 {
		return BlobHead{}, errBadPayload
	}
	h.Pieces = binary.BigEndian.Uint32(plain)
	h.Path, err = acl.ParsePath(string(plain[4:])) // as it was parsed when it was written
	return h, err
}

// OpenHead decrypts the record of a blob. ErrCorrupt, ErrUnknownTerm.
func (ps *Pieces) OpenHead(key store.Key, data []byte) (h BlobHead, id envelope.ID, err error) {
	err = ps.barrier.Use(func(k *barrier.Keys) error {
		plain, header, err := k.Open(key, k.BlobPlace(key), data)
		if err != nil {
			return err
		}
		id = header.ID
		if h, err = decodeBlobHead(plain); err != nil {
			return barrier.Corrupt(key, err)
		}
		return nil
	})
	return h, id, err
}

// read puts a large value together. *missingPiece.
func (ps *Pieces) read(ctx context.Context, rec *secretRecord, c store.Consistency) ([]byte, error) {
	value := make([]byte, rec.size)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelPieces)
	for i := range pieceCount(rec.size) {
		into := value[i*pieceSize : min(len(value), int(i+1)*pieceSize)]
		group.Go(func() error { return ps.readPiece(ctx, rec, i, c, into) })
	}
	return value, group.Wait()
}

func (ps *Pieces) readPiece(ctx context.Context, rec *secretRecord, i uint32, c store.Consistency, into []byte) error {
	key, count := pieceKey(rec.id, i), pieceCount(rec.size)
	node, err := ps.backend.Get(ctx, key, c)
	if errors.Is(err, store.ErrNotFound) {
		return &missingPiece{key}
	}
	if err != nil {
		return barrier.ReadError(key, err)
	}
	return ps.barrier.Use(func(k *barrier.Keys) error {
		plain, header, err := k.Open(key, k.PiecePlace(rec.at.Path, i, count), node.Data)
		if err != nil {
			return err
		}
		if header.ID != rec.id || len(plain) != len(into) {
			return barrier.Corrupt(key, errBadPayload)
		}
		copy(into, plain)
		clear(plain)
		return nil
	})
}

// discard removes in the background the pieces of a value that no record names
// any more.
func (ps *Pieces) discard(rec *secretRecord) {
	if rec != nil && rec.inPieces() {
		key := blobKey(rec.id)
		ps.cleanup.add(func(ctx context.Context) { _ = ps.remove(ctx, key) })
	}
}

// remove deletes a blob and its pieces.
func (ps *Pieces) remove(ctx context.Context, blob store.Key) error {
	head, err := ps.backend.Get(ctx, blob, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return ps.barrier.RemoveTree(ctx, blob)
	}
	if err != nil {
		return err
	}
	return ps.removeAt(ctx, blob, head)
}

// removeAt deletes a blob, while it is as it was read, and its pieces. It
// changes the head first, so that a piece or a commit that is still on its way
// fails at its check. If another server does the same, the rest is left to it.
func (ps *Pieces) removeAt(ctx context.Context, blob store.Key, head store.Node) error {
	_, err := ps.backend.Apply(ctx, store.Set(blob, head.Data, head.Version))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return ps.barrier.RemoveTree(ctx, blob)
}
