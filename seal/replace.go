package seal

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/pgp"
	"secretstore/store"
)

// An init whose holders turn out to be unable to decrypt can be done over while
// nothing depends on it. What makes that safe is that it is only this server's
// own, recent init, that the same principal takes back, and that the one
// transaction demands every record of it as init left it: had anybody unsealed
// since, on any server, the intent would have changed, and without an unseal
// nothing can have been stored. Nothing of this is kept in the storage, whose
// writers could forge it; a restart ends it.

// replaceLife is how long an init can be taken back.
const replaceLife = 15 * time.Minute

// newborn is a store that this server has initialised.
type newborn struct {
	at       time.Time
	by       string // uid of the principal
	key      string // the first wrapped key, which names this init
	config   *configRecord
	versions []store.Version // of the operations of birth.ops
}

// rememberInit notes an init that has just been done. It runs in turn.
func (s *Store) rememberInit(p InitParams, born *birth, versions []store.Version) {
	s.newborn = &newborn{at: time.Now(), by: p.By, key: born.config.Keys[0], config: born.config, versions: versions}
}

// replaceInTurn makes all keys of a store that was just born anew, for other
// holders. The store stays the same one to servers and clients: nobody has
// trusted it with anything yet. ErrNotReplaceable.
func (s *Store) replaceInTurn(ctx context.Context, p InitParams, keys []*pgp.PublicKey) (InitInfo, error) {
	n := s.newborn
	if n == nil || n.by != p.By || time.Since(n.at) > replaceLife || s.view.Load().config.UUID != n.config.UUID ||
		subtle.ConstantTimeCompare([]byte(n.key), []byte(p.Replace)) != 1 {
		return InitInfo{}, ErrNotReplaceable
	}
	if err := s.nothingStored(ctx); err != nil {
		return InitInfo{}, err
	}
	born, err := newBirthOf(n.config.UUID, keys, p.Threshold)
	if err != nil {
		return InitInfo{}, err
	}
	defer born.clear()
	versions, err := s.backend.Apply(ctx, born.replacing(n)...)
	var refused *store.OpError
	switch {
	case errors.As(err, &refused):
		s.newborn = nil
		return InitInfo{}, ErrNotReplaceable
	case err != nil:
		s.newborn = nil // which of both is there is not known
		return InitInfo{}, fmt.Errorf("initialize again: %w", err)
	}
	s.unsealing.reset()
	s.rememberInit(p, born, versions)
	s.log.Warn("initialized again: the keys from before, which nobody has used, open nothing any more",
		zap.String("store", born.config.UUID), zap.Strings("pgp_fingerprints", born.config.Fingerprints))
	s.lookAfter(ctx)
	return born.config.info(), nil
}

// nothingStored is a second net: the transaction demands that the store was
// never unsealed, so that there can be nothing.
func (s *Store) nothingStored(ctx context.Context) error {
	for _, key := range []store.Key{keySecrets, keyDeleted, keyBlobs} {
		list, err := s.backend.Children(ctx, key, store.Latest)
		if err != nil {
			return fmt.Errorf("list %s: %w", key, err)
		}
		if len(list.Names) > 0 {
			return ErrNotReplaceable
		}
	}
	return nil
}

// replacing returns the operations of ops, each over the record that n has left.
func (b *birth) replacing(n *newborn) []store.Op {
	ops := b.ops(sealedIntent(newNonce()))
	for i, op := range ops {
		if op.Key == identityKey(n.config.UUID) {
			ops[i] = store.Check(op.Key, n.versions[i])
		} else {
			ops[i] = store.Set(op.Key, op.Data, n.versions[i])
		}
	}
	return ops
}
