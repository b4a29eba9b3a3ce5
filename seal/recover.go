package seal

import (
	"context"
	"io"

	"go.uber.org/zap"

	"secretstore/seal/internal/lifecycle"
	"secretstore/seal/internal/records"
	"secretstore/store"
)

// Recover opens the store of a storage for reading, offline: the seal intent is
// neither read nor written, nothing is followed, and nothing runs in the
// background. It is for a holder of the unseal key, or of enough shares of it,
// when no server is available. Only what reads secrets, Backup, BackupFor and Close
// work on the result. ErrBadKey, ErrWrongKey, ErrUninitialized, ErrDamaged,
// ErrCorrupt.
func Recover(ctx context.Context, backend store.Backend, shares []string) (*Store, error) {
	s, err := newStore(Options{Backend: backend, MaxSecretSize: records.MaxSize, Log: zap.NewNop()}, true)
	if err != nil {
		return nil, err
	}
	if err := lifecycle.Recover(ctx, s.Lifecycle, shares); err != nil {
		s.closeFolders()
		return nil, err
	}
	return s, nil
}

// BackupFor is Backup for other holders, of a store that Recover has opened: the
// backup opens with shares of a new unseal key, which are wrapped for the owners of
// the keys in p, and not with those of the store. ErrBadShares, *pgp.KeyError, and
// the errors of Backup.
func (s *Store) BackupFor(ctx context.Context, w io.Writer, o BackupOptions, p InitParams) (BackupManifest, InitInfo, error) {
	instead, info, err := lifecycle.ForOthers(s.Lifecycle, p)
	if err != nil {
		return BackupManifest{}, InitInfo{}, err
	}
	o.Instead = instead
	m, err := s.Backup(ctx, w, o)
	return m, info, err
}
