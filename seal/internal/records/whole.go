package records

import (
	"context"
	"errors"
	"slices"
	"time"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

// Whole is a secret with everything that its record has, deleted or not. It takes
// a secret from one store to another.
type Whole struct {
	Versions    []Value // newest first; never empty
	Description string
	Labels      []string
	Author      string
	Created     time.Time
	Deleted     time.Time // zero if it is not deleted
}

// Value is one value of a Whole secret.
type Value struct {
	Version uint64 // as in Secret
	Kind    Kind
	Value   []byte
	Written time.Time // zero if not known
}

// Clear overwrites the values.
func (w *Whole) Clear() {
	for _, v := range w.Versions {
		clear(v.Value)
	}
}

// Whole reads a secret, or a deleted one. The errors are those of Get.
func (s *Secrets) Whole(ctx context.Context, p acl.Path) (Whole, error) {
	at, err := s.barrier.Locate(p)
	if err != nil {
		return Whole{}, err
	}
	rec, err := s.reader.settled(ctx, at, store.Latest, s.reader.read)
	if errors.Is(err, ErrNotFound) {
		rec, err = s.reader.settled(ctx, at, store.Latest, s.reader.readDeleted)
	}
	if err != nil {
		return Whole{}, err
	}
	return s.whole(ctx, rec)
}

// WholeDeleted reads the deleted secret of a path, also one that Undelete would not bring
// back. The errors are those of Get.
func (s *Secrets) WholeDeleted(ctx context.Context, p acl.Path) (Whole, error) {
	at, err := s.barrier.Locate(p)
	if err != nil {
		return Whole{}, err
	}
	rec, err := s.reader.readIfPresent(ctx, at, true)
	if err == nil && rec == nil {
		err = ErrNotFound
	}
	if err != nil {
		return Whole{}, err
	}
	return s.whole(ctx, rec)
}

// whole reads the pieces of a record.
func (s *Secrets) whole(ctx context.Context, rec *secretRecord) (Whole, error) {
	value := rec.value
	if rec.inPieces() {
		var err error
		if value, err = s.reader.pieces.read(ctx, rec, store.Latest); err != nil {
			return Whole{}, err
		}
	}
	w := Whole{Description: rec.description, Labels: rec.labels, Author: rec.author, Created: rec.created, Deleted: rec.deleted}
	w.Versions = append(w.Versions, Value{rec.number, rec.kind, value, rec.written})
	for e := range rec.earlier.all() {
		w.Versions = append(w.Versions, Value{e.version, e.kind, e.value, e.written})
	}
	return w, nil
}

// maxVersion is the largest number of a version that is taken from another store: that
// of the next one has to be larger, and is a number that all clients can read.
const maxVersion = 1 << 52

// check refuses what no store has kept. ErrTooLarge, ErrBadMetadata.
func (w *Whole) check(maxSize int64, now time.Time) error {
	if err := checkMetadata(Change{Description: &w.Description, Labels: &w.Labels, Author: w.Author}); err != nil {
		return err
	}
	if len(w.Versions) == 0 || w.Created.IsZero() {
		return ErrBadHistory
	}
	times := []time.Time{w.Created, w.Deleted}
	for i, v := range w.Versions {
		falls := i == 0 || v.Version < w.Versions[i-1].Version
		if v.Version == 0 || v.Version > maxVersion || !falls || v.Kind != Text && v.Kind != Binary {
			return ErrBadHistory
		}
		if int64(len(v.Value)) > maxSize || i > 0 && earlierOverhead+len(v.Value) > maxHistory {
			return ErrTooLarge
		}
		times = append(times, v.Written)
	}
	if slices.ContainsFunc(times, func(t time.Time) bool { return !t.IsZero() && (t.Before(time.Unix(0, 1)) || t.After(now)) }) {
		return ErrBadHistory
	}
	return nil
}

// CreateWhole stores a secret of another store, with its versions and times, which
// must be past. A deleted one is only there to be undeleted. Of the earlier values
// it keeps as many as Update does. ErrExists also if there is a deleted secret
// in the place of a deleted one; ErrBadHistory; and the errors of Create.
func (s *Secrets) CreateWhole(ctx context.Context, p acl.Path, w Whole) (Written, error) {
	if err := w.check(s.maxSize, time.Now()); err != nil {
		return Written{}, err
	}
	live, err := s.barrier.Locate(p)
	if err != nil {
		return Written{}, err
	}
	if err := s.reader.checkExists(ctx, live, false); err != nil {
		return Written{}, err
	}
	at := live
	if !w.Deleted.IsZero() {
		at = live.Deleted()
	}
	newest := w.Versions[0]
	rec := &secretRecord{
		payload: payload{kind: newest.Kind, created: w.Created, written: newest.Written, author: w.Author,
			description: w.Description, labels: w.Labels, value: newest.Value},
		id: envelope.NewID(), number: newest.Version, at: at, deleted: w.Deleted,
	}
	if len(newest.Value) <= historyUpTo {
		var earlier []earlierValue
		for _, v := range w.Versions[1:] {
			earlier = append(earlier, earlierValue{id: envelope.NewID(), version: v.Version, kind: v.Kind, written: v.Written, value: v.Value})
		}
		rec.earlier.rest = historyOf(earlier...).first(s.keep, maxHistory)
	}
	err = s.pieces.commitWith(ctx, rec, func(pieces []store.Op) error {
		if _, err := s.generations.Of(ctx, live.Folder, store.Cached); err != nil { // see Create
			return err
		}
		return s.commitNew(ctx, p, rec, pieces)
	})
	return rec.result(), err
}
