package lifecycle

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/holders"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// An init whose holders turn out to be unable to decrypt can be replaced as
// long as nothing depends on it. This is safe because it only replaces this
// server's own recent init, for the same principal, and the one transaction
// demands every record as init left it: had anyone unsealed since, on any
// server, the intent would have changed, and without an unseal nothing can have
// been stored. Nothing of this is kept in the storage, where it could be
// forged; a restart ends it.

// replaceLife is how long an init can be replaced.
const replaceLife = 15 * time.Minute

// newStore is a store that this server has initialized.
type newStore struct {
	at       time.Time
	by       string          // uid of the principal
	key      string          // the first wrapped key, which names this init
	config   *holders.Config // as it is stored
	versions []store.Version // of the operations of storeRecords.createOps
}

// rememberInit notes an init that has just been done. The caller has the turn.
func (i *Initializer) rememberInit(p InitParams, r *storeRecords, versions []store.Version) {
	i.newStore = &newStore{at: time.Now(), by: p.By, key: r.config.Keys[0], config: r.config, versions: versions}
}

// replaceInTurn makes all keys of a new store again, for other holders. To
// servers and clients it stays the same store: nothing has been stored in it
// yet. ErrNotReplaceable.
func (i *Initializer) replaceInTurn(ctx context.Context, p InitParams, keys []*pgp.PublicKey) (InitInfo, error) {
	n := i.newStore
	if n == nil || n.by != p.By || time.Since(n.at) > replaceLife || !i.snapshot.Load().config.SameRecord(n.config) ||
		subtle.ConstantTimeCompare([]byte(n.key), []byte(p.Replace)) != 1 {
		return InitInfo{}, ErrNotReplaceable
	}
	if err := i.nothingStored(ctx); err != nil {
		return InitInfo{}, err
	}
	records, err := newStoreRecords(n.config.UUID, keys, p.Threshold)
	if err != nil {
		return InitInfo{}, err
	}
	defer records.clear()
	versions, err := i.backend.Apply(ctx, records.replaceOps(n)...)
	var refused *store.OpError
	switch {
	case errors.As(err, &refused):
		i.newStore = nil
		return InitInfo{}, ErrNotReplaceable
	case err != nil:
		i.newStore = nil // either init may be in force now
		return InitInfo{}, fmt.Errorf("initialize again: %w", err)
	}
	i.unsealing.Reset()
	i.rememberInit(p, records, versions)
	i.log.Warn("initialized again: the unused keys of the last init no longer open anything",
		zap.String("store", records.config.UUID), zap.Strings("pgp_fingerprints", records.config.Fingerprints))
	i.readAfterWrite(ctx)
	return infoOf(records.config.Holding), nil
}

// nothingStored is a second check: the transaction already demands that the
// store was never unsealed, so that there can be nothing.
func (i *Initializer) nothingStored(ctx context.Context) error {
	for _, key := range []store.Key{barrier.KeySecrets, barrier.KeyDeleted, barrier.KeyBlobs, barrier.KeyIAM} {
		list, err := i.backend.Children(ctx, key, store.Latest)
		if err != nil {
			return fmt.Errorf("list %s: %w", key, err)
		}
		if len(list.Names) > 0 {
			return ErrNotReplaceable
		}
	}
	return nil
}

// replaceOps is createOps, each over the record that n left.
func (r *storeRecords) replaceOps(n *newStore) []store.Op {
	ops := r.createOps(sealedIntent(newNonce()))
	for i, op := range ops {
		if op.Key == barrier.IdentityKey(n.config.UUID) {
			ops[i] = store.Check(op.Key, n.versions[i])
		} else {
			ops[i] = store.Set(op.Key, op.Data, n.versions[i])
		}
	}
	return ops
}
