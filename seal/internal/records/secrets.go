package records

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Secrets reads and writes secrets.
type Secrets struct {
	backend     store.Backend
	barrier     *barrier.Barrier
	reader      *Reader
	pieces      *Pieces
	cleanup     *Cleanup
	generations *Generations
	writers     *barrier.Queue
	maxSize     int64
	keep        int // earlier values of a secret
}

// NewSecrets returns the secrets that reader reads. maxSize is the largest
// value in bytes, and keep how many earlier values of a secret are kept.
func NewSecrets(reader *Reader, cleanup *Cleanup, generations *Generations, maxSize int64, keep int) *Secrets {
	return &Secrets{reader.backend, reader.barrier, reader, reader.pieces, cleanup, generations, barrier.NewQueue(), maxSize, keep}
}

// MaxSecretSize returns the largest value in bytes.
func (s *Secrets) MaxSecretSize() int64 { return s.maxSize }

// Get reads a secret. ErrNotFound, ErrSealed, ErrCorrupt, store.ErrUnavailable.
func (s *Secrets) Get(ctx context.Context, p acl.Path, c store.Consistency) (Secret, error) {
	return s.reader.Get(ctx, p, c, Options{})
}

// Read is Get or GetVersion with options, for callers that bound their memory.
func (s *Secrets) Read(ctx context.Context, p acl.Path, c store.Consistency, o Options) (Secret, error) {
	return s.reader.Get(ctx, p, c, o)
}

// Create stores a secret that does not exist yet.
// ErrExists, ErrTooLarge, ErrBadMetadata, ErrSealed, store.ErrUnavailable,
// store.ErrOutcomeUnknown.
func (s *Secrets) Create(ctx context.Context, p acl.Path, c Change) (Written, error) {
	at, err := s.locateFor(p, c)
	if err != nil {
		return Written{}, err
	}
	now := time.Now().UTC()
	rec := &secretRecord{payload: payload{kind: c.Kind, created: now, written: now, author: c.Author, value: c.Value}, id: envelope.NewID(), number: 1, at: at}
	rec.applyMetadata(c)
	if len(c.Value) > inlineMax {
		// Do not write megabytes that will be refused.
		if err := s.reader.checkExists(ctx, at, false); err != nil {
			return Written{}, err
		}
	}
	err = s.pieces.commitWith(ctx, rec, func(pieces []store.Op) error {
		// The generation has to be older than the record: otherwise the record would
		// have to be read from the storage before it is written over.
		if _, err := s.generations.Of(ctx, at.Folder, store.Cached); err != nil {
			return err
		}
		return s.commitNew(ctx, p, rec, pieces)
	})
	return rec.result(), err
}

// commitNew writes a record that must not exist yet, with its pieces and its folder.
// ErrExists.
func (s *Secrets) commitNew(ctx context.Context, p acl.Path, rec *secretRecord, pieces []store.Op) error {
	err := s.barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) {
		folder, err := k.SealFolder(p.Folder().String())
		if err != nil {
			return nil, err
		}
		data, err := rec.seal(k)
		return append(pieces[:len(pieces):len(pieces)], store.Ensure(rec.at.Folder, folder), store.Create(rec.at.Key, data)), err
	})
	if errors.Is(err, store.ErrExists) {
		return ErrExists
	}
	return err
}

// Update replaces the value of a secret.
// ErrNotFound, ErrChanged and those of Create.
func (s *Secrets) Update(ctx context.Context, p acl.Path, c Change) (Written, error) {
	at, err := s.locateFor(p, c)
	if err != nil {
		return Written{}, err
	}
	if len(c.Value) > inlineMax {
		if err := s.reader.checkExists(ctx, at, true); err != nil {
			return Written{}, err
		}
	}
	next := &secretRecord{payload: payload{kind: c.Kind, written: time.Now().UTC(), value: c.Value}, id: envelope.NewID(), at: at}
	err = s.pieces.commitWith(ctx, next, func(pieces []store.Op) error {
		old, err := s.update(ctx, at, c.If, func(k *barrier.Keys, g Generation, old *secretRecord) ([]store.Op, error) {
			next.created, next.author, next.description, next.labels = old.created, old.author, old.description, old.labels
			next.number = old.number + 1
			next.applyMetadata(c)
			next.remember(old, s.keep)
			data, err := next.seal(k)
			return slices.Concat(g.Check(), pieces, []store.Op{store.Set(old.at.Key, data, old.version)}), err
		})
		if err == nil {
			s.pieces.discard(old)
		}
		return err
	})
	return next.result(), err
}

// locateFor checks a change and returns where its secret is stored.
func (s *Secrets) locateFor(p acl.Path, c Change) (barrier.Location, error) {
	if c.Kind != Text && c.Kind != Binary {
		return barrier.Location{}, errors.New("internal error: a value without a kind")
	}
	if int64(len(c.Value)) > s.maxSize {
		return barrier.Location{}, ErrTooLarge
	}
	if err := checkMetadata(c); err != nil {
		return barrier.Location{}, err
	}
	return s.barrier.Locate(p)
}

func (p *payload) applyMetadata(c Change) {
	if c.Description != nil {
		p.description = *c.Description
	}
	if c.Labels != nil {
		p.labels = *c.Labels
	}
}

// buildFunc makes the operations that write over an existing record, on the
// condition that it is still the one that was read: its version says so only
// together with the generation.
type buildFunc func(k *barrier.Keys, g Generation, old *secretRecord) ([]store.Op, error)

// replace writes over a record that exists and that match accepts, and returns
// the old record. build gets the record as it is now; it is called again if
// another write was first.
func (s *Secrets) replace(ctx context.Context, at barrier.Location, read readFunc, match Match, build buildFunc) (*secretRecord, error) {
	leave, err := s.writers.Enter(ctx, at.Key)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.replaceLatest(ctx, at, read, match, build)
}

// update is replace of an existing secret, from memory if possible.
func (s *Secrets) update(ctx context.Context, at barrier.Location, match Match, build buildFunc) (*secretRecord, error) {
	leave, err := s.writers.Enter(ctx, at.Key)
	if err != nil {
		return nil, err
	}
	defer leave()
	if old, done, err := s.replaceCached(ctx, at, match, build); done {
		return old, err
	}
	return s.replaceLatest(ctx, at, s.reader.read, match, build)
}

// replaceCached is replace of a record as this server, or any member of the
// ensemble, remembers it: mostly in one round trip. If it is not done, nothing
// has happened, and the record has to be read from the storage. The caller has
// the turn of the record. The errors are those of replace.
func (s *Secrets) replaceCached(ctx context.Context, at barrier.Location, match Match, build buildFunc) (old *secretRecord, done bool, err error) {
	g, err := s.generations.Of(ctx, at.Folder, store.Cached)
	if err != nil {
		return nil, true, err
	}
	if !g.known {
		return nil, false, nil
	}
	old, err = s.reader.read(ctx, at, store.Cached)
	if errors.Is(err, store.ErrUnavailable) {
		return nil, true, err
	}
	if err != nil || !g.precedes(old) || match != nil && !match(old.known) {
		return nil, false, nil
	}
	err = s.barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) { return build(k, g, old) })
	var refused *store.OpError
	if errors.As(err, &refused) && (refused.Key == old.at.Key || g.refused(refused)) {
		return nil, false, nil
	}
	return old, true, err
}

// replaceLatest reads a record and writes over it, until no other write was
// first. The generation is read before the record. From memory it may be so old
// that the write is refused; then it is read from the storage too.
func (s *Secrets) replaceLatest(ctx context.Context, at barrier.Location, read readFunc, match Match, build buildFunc) (*secretRecord, error) {
	for c := store.Cached; ; c = store.Latest {
		g, err := s.generations.Of(ctx, at.Folder, c)
		if err != nil {
			return nil, err
		}
		old, err := s.reader.settled(ctx, at, store.Latest, read)
		if err != nil {
			return nil, err
		}
		if match != nil && !match(old.known) {
			return nil, ErrChanged
		}
		err = s.barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) { return build(k, g, old) })
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Key != old.at.Key && !g.refused(refused) {
			return old, err
		}
		if errors.Is(err, store.ErrNotEmpty) {
			return nil, barrier.Corrupt(old.at.Key, err) // a foreign record below it
		}
		if ctx.Err() != nil {
			return nil, errKeptChanging
		}
	}
}

// errKeptChanging: the deadline came while other writes were always first.
var errKeptChanging = fmt.Errorf("the secret kept changing: %w", store.ErrUnavailable)
