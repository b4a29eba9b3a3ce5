package seal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

// errLookAgain: what was read contradicts what is known of the keys; a refresh
// settles it.
var errLookAgain = errors.New("the keys may have changed")

// errUnknownTerm: a record claims a term that the keyring does not have. Either
// another server has rotated, and a fresh look finds the term, or the claim is
// forged.
var errUnknownTerm = fmt.Errorf("%w: a term that is not in the keyring", errLookAgain)

// maxLooks bounds how often a read starts over because the keys, or the pieces
// of the value, changed meanwhile.
const maxLooks = 8

// Get reads a secret. ErrNotFound, ErrSealed, ErrCorrupt, store.ErrUnavailable.
func (s *Store) Get(ctx context.Context, p acl.Path, c store.Consistency) (Secret, error) {
	return s.get(ctx, p, 0, "", c, nil)
}

// GetBounded is Get for who bounds what is in memory: before a value of more than
// 128 KiB is read admit is asked, whose error ends the read. It may be asked more
// than once.
func (s *Store) GetBounded(ctx context.Context, p acl.Path, c store.Consistency, admit func() error) (Secret, error) {
	return s.get(ctx, p, 0, "", c, admit)
}

// get reads one value of a secret; version 0 is the current one. Of that it
// returns no value if its id is known. admit is as in GetBounded, or nil.
func (s *Store) get(ctx context.Context, p acl.Path, version uint64, known string, c store.Consistency, admit func() error) (Secret, error) {
	var secret Secret
	err := s.settle(ctx, c, func(c store.Consistency) error {
		h, err := s.readHead(ctx, p, c)
		if err != nil {
			return err
		}
		if version != 0 && version != h.count {
			var kept bool
			if secret, kept = h.version(version); !kept {
				return errNoVersion
			}
			return nil
		}
		secret = h.secret()
		if secret.ID == known {
			secret.Value = nil
			return nil
		}
		if h.inPieces() && admit != nil {
			if err := admit(); err != nil {
				return err
			}
		}
		if h.inPieces() {
			secret.Value, err = s.readPieces(ctx, p, h, c)
		}
		var lost *missingPiece
		if errors.As(err, &lost) && c == store.Latest {
			return s.confirmLost(ctx, p, h, lost)
		}
		return err
	})
	if err != nil {
		return Secret{}, err
	}
	return secret, nil
}

// confirmLost tells a piece that is lost from one that went with an overwritten
// value.
func (s *Store) confirmLost(ctx context.Context, p acl.Path, h *head, lost *missingPiece) error {
	again, err := s.readRecord(ctx, p, !h.deleted.IsZero(), store.Latest)
	if err == nil && again.id == h.id {
		return corrupt(lost.key, lost)
	}
	if err != nil {
		return err
	}
	return errLookAgain
}

// settle runs a read, and again with a fresh look at the storage while it says
// errLookAgain.
func (s *Store) settle(ctx context.Context, c store.Consistency, read func(store.Consistency) error) error {
	for look := range maxLooks {
		err := read(c)
		switch {
		case errors.Is(err, ErrCorrupt) && c == store.Cached:
			c = store.Latest // it may have been mended since it was cached
			continue
		case !errors.Is(err, errLookAgain):
			return err
		case look > 0 && errors.Is(err, errUnknownTerm):
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if err := s.refresh(ctx); errors.Is(err, store.ErrUnavailable) {
			return err
		}
		c = store.Latest
	}
	return fmt.Errorf("the record kept changing: %w", store.ErrUnavailable)
}

// head is a secret's record as it was read.
type head struct {
	payload
	id       envelope.ID
	count    uint64 // version of the value
	key      store.Key
	folder   store.Key
	revision store.Version  // of the record, for conditional writes
	moment   store.Revision // when the record was written
	age      time.Duration
	deleted  time.Time // when the secret was deleted; zero while it is there
}

func (h *head) secret() Secret {
	return Secret{
		Kind: h.kind, Value: h.value, Description: h.description, Labels: h.labels, Author: h.author,
		Created: h.created, Written: h.written, ID: idString(h.id), Version: h.count, Age: h.age,
	}
}

// readHead fetches and decrypts the record of a secret. The intent is read
// beside it, through the same cache, so that a server which was away learns of
// a seal before it serves, by whatever path its cache came back to life.
func (s *Store) readHead(ctx context.Context, p acl.Path, c store.Consistency) (*head, error) {
	return s.readRecord(ctx, p, false, c)
}

// readRecord is readHead, of the secret or of what its delete has left.
func (s *Store) readRecord(ctx context.Context, p acl.Path, deleted bool, c store.Consistency) (*head, error) {
	h := &head{}
	var intentVersion store.Version
	err := s.use(func(o *opened) (err error) {
		h.folder, h.key, err = o.names.secretKey(p)
		intentVersion = o.intentVersion
		return err
	})
	if deleted {
		h.folder, h.key = deletedKey(h.folder), deletedKey(h.key)
	}
	if err != nil {
		return nil, err
	}
	node, err := s.backend.Get(ctx, h.key, c)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read %s: %w", h.key, err)
	}
	absent := err != nil
	age, err := s.checkIntent(ctx, intentVersion)
	if err != nil {
		return nil, err
	}
	if absent {
		return nil, ErrNotFound
	}
	h.revision, h.moment, h.age = node.Version, node.Revision, max(node.Age, age)
	return h, s.use(func(o *opened) error {
		if deleted {
			return h.openDeleted(o, node.Data)
		}
		return h.open(o, p, node.Data)
	})
}

// use is barrier.use, with the reason why there are no keys.
func (s *Store) use(fn func(*opened) error) error {
	err := s.barrier.use(fn)
	if errors.Is(err, ErrSealed) {
		if reason := s.ready(); reason != nil {
			return reason
		}
	}
	return err
}

// checkIntent compares the recorded intent with the one the keys were opened
// under. errLookAgain if they differ.
//
// It asks the cache even for a linearizable read: a seal has a second to arrive,
// and a server that was cut off has no cache to ask until it has caught up. What
// the cache holds against the keys is asked of the storage itself.
func (s *Store) checkIntent(ctx context.Context, want store.Version) (age time.Duration, err error) {
	if s.alone || s.offline {
		return 0, nil // nobody else can have written it
	}
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		node, err := s.backend.Get(ctx, keyIntent, c)
		switch {
		case err == nil && node.Version == want:
			return node.Age, nil
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return 0, fmt.Errorf("read %s: %w", keyIntent, err)
		}
	}
	return 0, errLookAgain
}

// open decrypts the record into h.
func (h *head) open(o *opened, p acl.Path, data []byte) error {
	plain, header, err := o.openRecord(h.key, secretPlace(o, p), data)
	if err != nil {
		return err
	}
	return h.decode(header, plain)
}

func (h *head) decode(header envelope.Header, plain []byte) error {
	decoded, err := decodePayload(header.Format, plain)
	if err != nil {
		return corrupt(h.key, err)
	}
	h.payload, h.id, h.count = *decoded, header.ID, header.Version
	if header.Format == 1 && h.count == 1 {
		h.written = h.created
	}
	return nil
}

func secretPlace(o *opened, p acl.Path) envelope.Place {
	return envelope.Place{Store: o.uuid, Kind: envelope.KindSecret, Path: p.String()}
}

// seal encrypts h's payload as its record, of a secret or of a deleted one.
func (h *head) seal(o *opened, p acl.Path) ([]byte, error) {
	at, space := secretPlace(o, p), envelope.Space(8+h.encodedSize())
	if !h.deleted.IsZero() {
		at = deletedPlace(o, h.key)
		space = appendDeleted(space, h.deleted)
	}
	space, err := h.appendTo(space, payloadFormat)
	if err != nil {
		return nil, fmt.Errorf("encode the record: %w", err)
	}
	return envelope.SealSpace(o.ring.terms[o.ring.active], at,
		envelope.Header{Kind: at.Kind, Format: payloadFormat, Term: o.ring.active, Version: h.count, ID: h.id}, space), nil
}

// Create stores a secret that does not exist yet, and returns its value id.
// ErrExists, ErrTooLarge, ErrBadMetadata, ErrSealed, store.ErrUnavailable,
// store.ErrOutcomeUnknown.
func (s *Store) Create(ctx context.Context, p acl.Path, c Change) (id string, err error) {
	if err := s.checkChange(c); err != nil {
		return "", err
	}
	now := time.Now().UTC()
	h := &head{payload: payload{kind: c.Kind, created: now, written: now, author: c.Author, value: c.Value}, id: envelope.NewID(), count: 1}
	h.applyMetadata(c)
	if len(c.Value) > inlineMax {
		// Rather than writing megabytes that will be refused.
		if err := s.mustExist(ctx, p, false); err != nil {
			return "", err
		}
	}
	err = s.withPieces(ctx, p, h, func(pieces []store.Op) error {
		folder, _, err := s.keysOf(p)
		if err != nil {
			return err
		}
		// The mark is to be there before the record: what is older than its mark has
		// to be looked at again before it is written over.
		if _, err := s.markOf(ctx, folder, store.Cached); err != nil {
			return err
		}
		err = s.commit(ctx, func(o *opened) ([]store.Op, error) {
			folder, key, err := o.names.secretKey(p)
			if err != nil {
				return nil, err
			}
			h.key = key
			folderData, err := o.names.sealFolder(p.Folder().String())
			if err != nil {
				return nil, err
			}
			data, err := h.seal(o, p)
			return append(pieces[:len(pieces):len(pieces)], store.Ensure(folder, folderData), store.Create(key, data)), err
		})
		if errors.Is(err, store.ErrExists) {
			return ErrExists
		}
		return err
	})
	return idString(h.id), err
}

// mustExist returns ErrExists or ErrNotFound unless the secret is there as it is
// wanted. Memory may be behind what other servers have done, so it is believed
// only where it spares the caller nothing but an attempt.
func (s *Store) mustExist(ctx context.Context, p acl.Path, want bool) error {
	err := s.existsAs(ctx, p, want, store.Cached)
	if errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) {
		err = s.existsAs(ctx, p, want, store.Latest)
	}
	return err
}

func (s *Store) existsAs(ctx context.Context, p acl.Path, want bool, c store.Consistency) error {
	err := s.settle(ctx, c, func(c store.Consistency) error {
		_, err := s.readHead(ctx, p, c)
		return err
	})
	switch {
	case err == nil && !want:
		return ErrExists
	case errors.Is(err, ErrNotFound) && !want:
		return nil
	default:
		return err
	}
}

// Update replaces the value of a secret, and returns the id of the new one.
// ErrNotFound, ErrChanged and those of Create.
func (s *Store) Update(ctx context.Context, p acl.Path, c Change) (id string, err error) {
	if err := s.checkChange(c); err != nil {
		return "", err
	}
	if len(c.Value) > inlineMax {
		if err := s.mustExist(ctx, p, true); err != nil {
			return "", err
		}
	}
	next := &head{payload: payload{kind: c.Kind, written: time.Now().UTC(), value: c.Value}, id: envelope.NewID()}
	err = s.withPieces(ctx, p, next, func(pieces []store.Op) error {
		old, err := s.update(ctx, p, c.If, func(o *opened, m mark, old *head) ([]store.Op, error) {
			next.created, next.author, next.description, next.labels = old.created, old.author, old.description, old.labels
			next.count = old.count + 1
			next.applyMetadata(c)
			next.remember(old, s.keep)
			data, err := next.seal(o, p)
			return slices.Concat(m.check(), pieces, []store.Op{store.Set(old.key, data, old.revision)}), err
		})
		if err == nil {
			s.discardPieces(old)
		}
		return err
	})
	return idString(next.id), err
}

// reader is readHead or readDeleted.
type reader func(context.Context, acl.Path, store.Consistency) (*head, error)

// builder makes the operations that write over a record which is there, on the
// condition that it still is the one that was read: its revision says so only
// together with the mark.
type builder func(o *opened, m mark, old *head) ([]store.Op, error)

// replace writes over a record that exists and that when permits, and returns
// what it was. build gets the record as it is now, and the write is done again
// when somebody else was first.
func (s *Store) replace(ctx context.Context, p acl.Path, read reader, when Match, build builder) (*head, error) {
	folder, key, err := s.keysOf(p)
	if err != nil {
		return nil, err
	}
	leave, err := s.writers.enter(ctx, key)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.replaceLatest(ctx, p, folder, read, when, build)
}

// update is replace of a secret that is there, as this server remembers it if that
// will do.
func (s *Store) update(ctx context.Context, p acl.Path, when Match, build builder) (*head, error) {
	folder, key, err := s.keysOf(p)
	if err != nil {
		return nil, err
	}
	leave, err := s.writers.enter(ctx, key)
	if err != nil {
		return nil, err
	}
	defer leave()
	if old, done, err := s.replaceRemembered(ctx, p, folder, when, build); done {
		return old, err
	}
	return s.replaceLatest(ctx, p, folder, s.readHead, when, build)
}

// replaceLatest reads a record, and writes over it, until nobody else was first.
// The mark is from before the record was read. From memory it may be so old that
// the write is refused; then the storage is asked for it as well.
func (s *Store) replaceLatest(ctx context.Context, p acl.Path, folder store.Key, read reader, when Match, build builder) (*head, error) {
	for c := store.Cached; ; c = store.Latest {
		m, err := s.markOf(ctx, folder, c)
		if err != nil {
			return nil, err
		}
		var old *head
		err = s.settle(ctx, store.Latest, func(c store.Consistency) (err error) {
			old, err = read(ctx, p, c)
			return err
		})
		if err != nil {
			return nil, err
		}
		if when != nil && !when(idString(old.id)) {
			return nil, ErrChanged
		}
		err = s.commit(ctx, func(o *opened) ([]store.Op, error) { return build(o, m, old) })
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Key != old.key && !m.refused(refused) {
			return old, err
		}
		if errors.Is(err, store.ErrNotEmpty) {
			return nil, corrupt(old.key, err) // a foreign record below it
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the secret kept changing: %w", store.ErrUnavailable)
		}
	}
}

func (s *Store) keyOf(p acl.Path) (key store.Key, err error) {
	_, key, err = s.keysOf(p)
	return key, err
}

// keysOf returns where a secret and its folder are kept.
func (s *Store) keysOf(p acl.Path) (folder, key store.Key, err error) {
	err = s.use(func(o *opened) error {
		folder, key, err = o.names.secretKey(p)
		return err
	})
	return folder, key, err
}

// commit applies what build makes under the present keys, in one transaction
// that holds only while those are the keys and the store is not sealed.
func (s *Store) commit(ctx context.Context, build func(*opened) ([]store.Op, error)) error {
	for range maxLooks {
		var ops []store.Op
		err := s.use(func(o *opened) error {
			built, err := build(o)
			ops = append(o.checks(), built...)
			return err
		})
		if err != nil {
			return err
		}
		_, err = s.backend.Apply(ctx, ops...)
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Index >= writeChecks {
			return err
		}
		if err := s.refresh(ctx); errors.Is(err, store.ErrUnavailable) {
			return err
		}
	}
	return fmt.Errorf("the keys kept changing: %w", store.ErrUnavailable)
}

func (s *Store) checkChange(c Change) error {
	if c.Kind != Text && c.Kind != Binary {
		return errors.New("internal error: a value without a kind")
	}
	if int64(len(c.Value)) > s.maxSize {
		return ErrTooLarge
	}
	return checkMetadata(c)
}

func (p *payload) applyMetadata(c Change) {
	if c.Description != nil {
		p.description = *c.Description
	}
	if c.Labels != nil {
		p.labels = *c.Labels
	}
}

// idString is how a value id is written in keys and answers.
func idString(id envelope.ID) string { return hex.EncodeToString(id[:]) }
