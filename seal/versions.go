package seal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secretstore/acl"
	"secretstore/store"
)

// Versions are the values of a secret that can still be had.
type Versions struct {
	Versions []VersionInfo // newest first; never empty
	// Deleted is when the secret was deleted: its values can be had again after
	// Undelete. Zero while it is there.
	Deleted time.Time
	Age     time.Duration
}

// VersionInfo describes one value without it.
type VersionInfo struct {
	Version uint64 // as in Secret
	ID      string // as in Secret
	Kind    Kind
	Size    uint64    // bytes
	Written time.Time // UTC; zero if not known
	// Current is what Get returns; nothing is while the secret is deleted.
	Current bool
}

// GetVersion reads one value of a secret, with its present metadata. ErrNotFound
// if that version is not kept, and the errors of Get.
func (s *Store) GetVersion(ctx context.Context, p acl.Path, version uint64, c store.Consistency) (Secret, error) {
	if version == 0 {
		return Secret{}, ErrNotFound
	}
	return s.get(ctx, p, version, "", c, nil)
}

// Versions lists the values of a secret, or of a deleted one. ErrNotFound if
// there is neither, and the errors of Get.
func (s *Store) Versions(ctx context.Context, p acl.Path, c store.Consistency) (Versions, error) {
	var h *head
	err := s.settle(ctx, c, func(c store.Consistency) (err error) {
		h, err = s.readHead(ctx, p, c)
		if errors.Is(err, ErrNotFound) {
			h, err = s.readDeleted(ctx, p, c)
		}
		return err
	})
	if err != nil {
		return Versions{}, err
	}
	v := Versions{Deleted: h.deleted, Age: h.age}
	v.Versions = append(v.Versions, VersionInfo{Version: h.count, ID: idString(h.id), Kind: h.kind, Size: h.valueSize(),
		Written: h.written, Current: h.deleted.IsZero()})
	for e := range h.earlier.all() {
		v.Versions = append(v.Versions, VersionInfo{Version: e.version, ID: idString(e.id), Kind: e.kind, Size: uint64(len(e.value)), Written: e.written})
	}
	return v, nil
}

// DeleteVersion removes one earlier value, also of a deleted secret; the current
// one stays as it is. ErrNotFound if it is not kept, ErrCurrentVersion, and the
// errors of Delete.
func (s *Store) DeleteVersion(ctx context.Context, p acl.Path, version uint64, when Match) error {
	without := func(o *opened, m mark, old *head) ([]store.Op, error) {
		rest := *old
		rest.earlier = old.earlier.without(version)
		switch {
		case version == old.count:
			return nil, ErrCurrentVersion
		case rest.earlier.size() == old.earlier.size():
			return nil, errNoVersion
		}
		data, err := rest.seal(o, p)
		return append(m.check(), store.Set(old.key, data, old.revision)), err
	}
	_, err := s.replace(ctx, p, s.readHead, when, without)
	if errors.Is(err, ErrNotFound) && !errors.Is(err, errNoVersion) {
		_, err = s.replace(ctx, p, s.readDeleted, when, without)
	}
	return err
}

// errNoVersion: the secret is there, deleted or not, but not that value of it.
var errNoVersion = fmt.Errorf("%w in this version", ErrNotFound)

// version returns one of the values that h holds in itself.
func (h *head) version(n uint64) (Secret, bool) {
	for e := range h.earlier.all() {
		if e.version == n {
			secret := h.secret()
			secret.Kind, secret.Value, secret.ID, secret.Version, secret.Written = e.kind, e.value, idString(e.id), n, e.written
			return secret, true
		}
	}
	return Secret{}, false
}
