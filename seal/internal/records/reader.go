package records

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// secretRecord is the record of a secret, deleted or not, as it was read.
type secretRecord struct {
	payload
	id       envelope.ID
	known    string           // how clients know the value; set by open and seal
	number   uint64           // version of the value
	at       barrier.Location // of this record; see barrier.Location.Deleted
	version  store.Version    // of the record, for conditional writes
	revision store.Revision   // of the write that left the record
	age      time.Duration
	deleted  time.Time // when the secret was deleted; zero if it is not
	// incarnation is that of the store when the record was read.
	incarnation barrier.Incarnation
}

func (r *secretRecord) secret() Secret {
	return Secret{
		Kind: r.kind, Value: r.value, Description: r.description, Labels: r.labels, Author: r.author,
		Created: r.created, Written: r.written, ID: r.known, Version: r.number, Age: r.age,
	}
}

// result names the value of the record, for the caller of a write.
func (r *secretRecord) result() Written { return Written{r.known, r.number} }

// open decrypts the record into r, whose location says which kind it is.
func (r *secretRecord) open(k *barrier.Keys, deleted bool, data []byte) error {
	place := k.SecretPlace(r.at.Path)
	if deleted {
		place = k.DeletedPlace(r.at.Key)
	}
	plain, header, err := k.Open(r.at.Key, place, data)
	if err != nil {
		return err
	}
	if deleted {
		if len(plain) < 8 {
			return barrier.Corrupt(r.at.Key, errBadPayload)
		}
		if r.deleted = fromNanoseconds(binary.BigEndian.Uint64(plain)); r.deleted.IsZero() {
			return barrier.Corrupt(r.at.Key, errBadPayload)
		}
		plain = plain[8:]
	}
	decoded, err := decodePayload(header.Format, plain)
	if err != nil {
		return barrier.Corrupt(r.at.Key, err)
	}
	r.payload, r.id, r.number = *decoded, header.ID, header.Version
	r.known, r.incarnation = k.Ring.Incarnation.ValueID(r.id), k.Ring.Incarnation
	if header.Format == 1 && r.number == 1 {
		r.written = r.created
	}
	return nil
}

// seal encrypts r's payload as its record. That of a deleted secret starts with
// when it was deleted: uint64, in nanoseconds since 1970.
func (r *secretRecord) seal(k *barrier.Keys) ([]byte, error) {
	r.known = k.Ring.Incarnation.ValueID(r.id)
	place, space := k.SecretPlace(r.at.Path), envelope.Space(8+r.encodedSize())
	if !r.deleted.IsZero() {
		place = k.DeletedPlace(r.at.Key)
		space = binary.BigEndian.AppendUint64(space, nanoseconds(r.deleted))
	}
	space, err := r.appendTo(space, payloadFormat)
	if err != nil {
		return nil, fmt.Errorf("encode the record: %w", err)
	}
	return k.SealSpace(place, envelope.Header{Format: payloadFormat, Version: r.number, ID: r.id}, space), nil
}

// Reader reads the records of secrets.
type Reader struct {
	backend store.Backend
	barrier *barrier.Barrier
	pieces  *Pieces
}

// NewReader returns a reader of the secrets in a backend.
func NewReader(backend store.Backend, b *barrier.Barrier, p *Pieces) *Reader {
	return &Reader{backend, b, p}
}

// Options select what Get returns. The zero value is the current value.
type Options struct {
	Version uint64 // of the value; 0 is the current one
	// KnownID is a value id. If it is the current one, Get returns no value.
	KnownID string
	// Admit, if not nil, is called before a value of more than 128 KiB is read,
	// perhaps more than once. Its error ends the read.
	Admit func(size int64) error
}

// Get reads one value of a secret. The errors are those of Secrets.Get, and
// ErrNotFound if the version is not kept.
func (r *Reader) Get(ctx context.Context, p acl.Path, c store.Consistency, o Options) (Secret, error) {
	at, err := r.barrier.Locate(p)
	if err != nil {
		return Secret{}, err
	}
	var secret Secret
	err = r.barrier.Settle(ctx, c, func(c store.Consistency) error {
		secret, err = r.getOnce(ctx, at, c, o)
		return err
	})
	r.met(at.Key, err)
	if err != nil {
		return Secret{}, err
	}
	return secret, nil
}

func (r *Reader) getOnce(ctx context.Context, at barrier.Location, c store.Consistency, o Options) (Secret, error) {
	rec, err := r.read(ctx, at, c)
	if err != nil {
		return Secret{}, err
	}
	if o.Version != 0 && o.Version != rec.number {
		secret, kept := rec.earlierVersion(o.Version)
		if !kept {
			return Secret{}, errNoVersion
		}
		return secret, nil
	}
	rec.earlier.clear()
	secret := rec.secret()
	if secret.ID == o.KnownID {
		clear(secret.Value)
		secret.Value = nil
		return secret, nil
	}
	if !rec.inPieces() {
		return secret, nil
	}
	if o.Admit != nil {
		if err := o.Admit(int64(rec.valueSize())); err != nil {
			return Secret{}, err
		}
	}
	secret.Value, err = r.pieces.read(ctx, rec, c)
	var lost *missingPiece
	if errors.As(err, &lost) && c == store.Latest {
		return Secret{}, r.confirmLost(ctx, at, rec, lost)
	}
	return secret, err
}

// met notes whether the record of a secret is damaged.
func (r *Reader) met(key store.Key, err error) {
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	r.barrier.Damage().Met(key, err)
}

// Stat returns the value id and the version of a secret. The errors are those
// of Get.
func (r *Reader) Stat(ctx context.Context, p acl.Path, c store.Consistency) (id string, version uint64, err error) {
	at, err := r.barrier.Locate(p)
	if err != nil {
		return "", 0, err
	}
	rec, err := r.settled(ctx, at, c, r.read)
	r.met(at.Key, err)
	if err != nil {
		return "", 0, err
	}
	return rec.known, rec.number, nil
}

// readFunc is Reader.read or Reader.readDeleted. The location is that of the
// secret.
type readFunc func(context.Context, barrier.Location, store.Consistency) (*secretRecord, error)

// read reads a secret. ErrNotFound.
func (r *Reader) read(ctx context.Context, at barrier.Location, c store.Consistency) (*secretRecord, error) {
	return r.readRecord(ctx, at, false, c)
}

// readDeleted reads a deleted secret. ErrNotFound if there is none that could
// be undeleted.
func (r *Reader) readDeleted(ctx context.Context, at barrier.Location, c store.Consistency) (*secretRecord, error) {
	rec, err := r.readRecord(ctx, at, true, c)
	if err == nil && rec.expired(time.Now()) {
		return nil, ErrNotFound
	}
	return rec, err
}

// readRecord reads a secret, or the deleted secret of the same path. The intent
// is read beside it, through the same cache, so that a server that was away
// learns of a seal before it serves, in whatever way its cache came back to
// life.
func (r *Reader) readRecord(ctx context.Context, at barrier.Location, deleted bool, c store.Consistency) (*secretRecord, error) {
	if deleted {
		at = at.Deleted()
	}
	var intentVersion store.Version
	if err := r.barrier.Use(func(k *barrier.Keys) error { intentVersion = k.IntentVersion; return nil }); err != nil {
		return nil, err
	}
	node, err := r.backend.Get(ctx, at.Key, c)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, barrier.ReadError(at.Key, err)
	}
	absent := err != nil
	age, err := r.barrier.CheckIntent(ctx, intentVersion)
	if err != nil {
		return nil, err
	}
	if absent {
		return nil, ErrNotFound
	}
	rec := &secretRecord{at: at, version: node.Version, revision: node.Revision, age: max(node.Age, age)}
	return rec, r.barrier.Use(func(k *barrier.Keys) error { return rec.open(k, deleted, node.Data) })
}

// settled is read within Barrier.Settle.
func (r *Reader) settled(ctx context.Context, at barrier.Location, c store.Consistency, read readFunc) (rec *secretRecord, err error) {
	err = r.barrier.Settle(ctx, c, func(c store.Consistency) error {
		rec, err = read(ctx, at, c)
		return err
	})
	return rec, err
}

// readIfPresent is readRecord from the storage itself; nil if there is no
// record.
func (r *Reader) readIfPresent(ctx context.Context, at barrier.Location, deleted bool) (rec *secretRecord, err error) {
	err = r.barrier.Settle(ctx, store.Latest, func(c store.Consistency) error {
		rec, err = r.readRecord(ctx, at, deleted, c)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return rec, err
}

// bothRecords returns the secret and the deleted secret of one path, whichever
// there are. ErrNotFound if there is none.
func (r *Reader) bothRecords(ctx context.Context, at barrier.Location) (found []*secretRecord, err error) {
	for _, deleted := range []bool{false, true} {
		rec, err := r.readIfPresent(ctx, at, deleted)
		if err != nil {
			return nil, err
		}
		if rec != nil {
			found = append(found, rec)
		}
	}
	if len(found) == 0 {
		return nil, ErrNotFound
	}
	return found, nil
}

// checkExists returns ErrExists or ErrNotFound unless the secret exists as
// wanted. Memory may be behind the writes of other servers, so an error is
// confirmed by the storage; without one the caller makes an attempt, which
// finds out.
func (r *Reader) checkExists(ctx context.Context, at barrier.Location, want bool) (err error) {
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		_, err = r.settled(ctx, at, c, r.read)
		switch {
		case err == nil && !want:
			err = ErrExists
		case errors.Is(err, ErrNotFound) && want:
		case errors.Is(err, ErrNotFound):
			return nil
		default:
			return err
		}
	}
	return err
}

// confirmLost distinguishes a lost piece from one that was removed together
// with an overwritten value. rec was read at the location at of its secret.
func (r *Reader) confirmLost(ctx context.Context, at barrier.Location, rec *secretRecord, lost *missingPiece) error {
	again, err := r.readRecord(ctx, at, !rec.deleted.IsZero(), store.Latest)
	if err == nil && again.id == rec.id {
		return barrier.Corrupt(lost.key, lost)
	}
	if err != nil {
		return err
	}
	return barrier.ErrReadAgain
}

// named reports whether the present value of a secret, or that of the deleted
// secret, is the blob id. A delete between the two reads is seen by the second;
// an undelete changes the blob, so that a caller who misses it fails at the
// blob's version.
func (r *Reader) named(ctx context.Context, at barrier.Location, id envelope.ID) (bool, error) {
	for _, deleted := range []bool{false, true} {
		rec, err := r.readRecord(ctx, at, deleted, store.Latest)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil || rec.id == id && rec.inPieces() {
			return err == nil, err
		}
	}
	return false, nil
}

// idString is how a value id is written in keys.
func idString(id envelope.ID) string { return hex.EncodeToString(id[:]) }
