package records

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Versions are the values of a secret that can still be read or restored.
type Versions struct {
	Versions    []VersionInfo // newest first; never empty
	Description string        // as in Secret
	Labels      []string
	Author      string // as in Secret
	// Deleted is when the secret was deleted: its values can be read again after
	// Undelete. Zero if it is not deleted.
	Deleted time.Time
	Age     time.Duration // as in Secret
}

// VersionInfo describes one value without its content.
type VersionInfo struct {
	Version uint64 // as in Secret
	ID      string // as in Secret
	Kind    Kind
	Size    uint64    // bytes
	Written time.Time // UTC; zero if not known
	// Current: Get returns this one. None is while the secret is deleted.
	Current bool
}

// GetVersion reads one value of a secret, with its present metadata.
// ErrNotFound if that version is not kept, and the errors of Get.
func (s *Secrets) GetVersion(ctx context.Context, p acl.Path, version uint64, c store.Consistency) (Secret, error) {
	if version == 0 {
		return Secret{}, ErrNotFound
	}
	return s.reader.Get(ctx, p, c, Options{Version: version})
}

// Versions lists the values of a secret, or of a deleted one. ErrNotFound if
// there is neither, and the errors of Get.
func (s *Secrets) Versions(ctx context.Context, p acl.Path, c store.Consistency) (Versions, error) {
	at, err := s.barrier.Locate(p)
	if err != nil {
		return Versions{}, err
	}
	rec, err := s.reader.settled(ctx, at, c, func(ctx context.Context, at barrier.Location, c store.Consistency) (*secretRecord, error) {
		rec, err := s.reader.read(ctx, at, c)
		if errors.Is(err, ErrNotFound) {
			return s.reader.readDeleted(ctx, at, c)
		}
		return rec, err
	})
	if err != nil {
		return Versions{}, err
	}
	v := Versions{Description: rec.description, Labels: rec.labels, Author: rec.author, Deleted: rec.deleted, Age: rec.age}
	v.Versions = append(v.Versions, VersionInfo{Version: rec.number, ID: rec.known, Kind: rec.kind, Size: rec.valueSize(),
		Written: rec.written, Current: rec.deleted.IsZero()})
	for e := range rec.earlier.all() {
		v.Versions = append(v.Versions, VersionInfo{Version: e.version, ID: rec.incarnation.ValueID(e.id), Kind: e.kind, Size: uint64(len(e.value)), Written: e.written})
	}
	return v, nil
}

// DeleteVersion removes one earlier value, also of a deleted secret; the
// current one stays. ErrNotFound if it is not kept, ErrCurrentVersion, and the
// errors of Delete.
func (s *Secrets) DeleteVersion(ctx context.Context, p acl.Path, version uint64, match Match) error {
	at, err := s.barrier.Locate(p)
	if err != nil {
		return err
	}
	without := func(k *barrier.Keys, g Generation, old *secretRecord) ([]store.Op, error) {
		rest := *old
		rest.earlier = old.earlier.without(version)
		switch {
		case version == old.number:
			return nil, ErrCurrentVersion
		case rest.earlier.size() == old.earlier.size():
			return nil, errNoVersion
		}
		data, err := rest.seal(k)
		return append(g.Check(), store.Set(old.at.Key, data, old.version)), err
	}
	_, err = s.replace(ctx, at, s.reader.read, match, without)
	if errors.Is(err, ErrNotFound) && !errors.Is(err, errNoVersion) {
		_, err = s.replace(ctx, at, s.reader.readDeleted, match, without)
	}
	return err
}

// errNoVersion: there is a secret, deleted or not, but that value is not kept.
var errNoVersion = fmt.Errorf("%w in this version", ErrNotFound)

// earlierVersion returns one of the earlier values that the record contains.
func (r *secretRecord) earlierVersion(n uint64) (Secret, bool) {
	for e := range r.earlier.all() {
		if e.version == n {
			secret := r.secret()
			secret.Kind, secret.Value, secret.ID, secret.Version, secret.Written = e.kind, e.value, r.incarnation.ValueID(e.id), n, e.written
			return secret, true
		}
	}
	return Secret{}, false
}
