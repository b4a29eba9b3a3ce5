package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"secretstore/internal/scrub"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/holders"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// Initializer makes the keys of a new store.
type Initializer struct{ *machine }

// Init makes the keys of an empty storage, in one transaction: of many servers
// that try at once exactly one wins, and a crash leaves nothing half-made. The
// store is sealed afterwards. With p.Replace it replaces the init of a moment
// ago. ErrInitialized, ErrNotReplaceable, ErrBadShares, ErrDamaged,
// *pgp.KeyError.
func (i *Initializer) Init(ctx context.Context, p InitParams) (InitInfo, error) {
	keys, refused := p.parse()
	if err := i.takeTurn(ctx); err != nil {
		return InitInfo{}, err
	}
	defer i.giveTurn()
	switch err := i.freshInTurn(ctx); {
	case err == nil && p.Replace == "":
		return InitInfo{}, ErrInitialized
	case err != nil && !errors.Is(err, barrier.ErrUninitialized):
		return InitInfo{}, err
	case refused != nil:
		return InitInfo{}, refused // last: correcting the keys would not help with the errors above
	case err == nil:
		return i.replaceInTurn(ctx, p, keys)
	case p.Replace != "":
		return InitInfo{}, ErrNotReplaceable
	}
	records, err := newStoreRecords(uuid.NewString(), keys, p.Threshold)
	if err != nil {
		return InitInfo{}, err
	}
	defer records.clear()
	versions, err := i.createStore(ctx, records.createOps(sealedIntent(newNonce())))
	if err != nil {
		return InitInfo{}, err
	}
	i.rememberInit(p, records, versions)
	i.log.Info("initialized", zap.String("store", records.config.UUID), zap.Strings("pgp_fingerprints", records.config.Fingerprints))
	i.readAfterWrite(ctx)
	return infoOf(records.config.Holding), nil
}

// InitInfo returns the wrapped keys and whether the store is initialized.
// ErrDamaged, ErrConfigNotGenuine, store.ErrUnavailable.
func (i *Initializer) InitInfo(ctx context.Context) (InitInfo, error) {
	s, err := i.snapshots.takeSnapshot(ctx)
	if err != nil {
		return InitInfo{}, err
	}
	if known := i.snapshot.Load().config; known != nil {
		s = sameStore(known.UUID, s)
	}
	switch s.state {
	case storageEmpty:
		return InitInfo{}, nil
	case storagePresent:
		if !i.trust.trustOf(s).mayShow() { // or another server has just replaced the root key
			if err := i.refresh(ctx); err != nil {
				return InitInfo{}, err
			}
			s = i.snapshot.Load()
		}
		if s.state != storagePresent || !i.trust.trustOf(s).mayShow() {
			return InitInfo{}, ErrConfigNotGenuine
		}
		return infoOf(s.config.Holding), nil
	default:
		return InitInfo{}, barrier.ErrDamaged
	}
}

// parse checks an operator's request and reads the public keys. ErrBadShares,
// *pgp.KeyError.
func (p InitParams) parse() ([]*pgp.PublicKey, error) {
	return holders.ParseKeys(p.Shares, p.Threshold, p.PGPKeys)
}

// bootstrapInTurn initializes an empty storage with a key pair of the server,
// and unseals.
func (i *Initializer) bootstrapInTurn(ctx context.Context, drops uint64) error {
	private, keep, err := i.bootstrapKeyStore.Prepare(ctx)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	public, err := private.Public(time.Now())
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	records, err := newStoreRecords(uuid.NewString(), []*pgp.PublicKey{public}, 1)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	defer records.clear()
	ops := append(records.createOps(unsealedIntent(newNonce(), records.config.UUID, records.root)), keep...)
	switch _, err := i.createStore(ctx, ops); {
	case errors.Is(err, ErrInitialized):
		i.log.Info("another server has initialized the store")
	case err != nil:
		return fmt.Errorf("bootstrap: %w", err)
	default:
		i.log.Info("initialized with a new bootstrap key", zap.String("store", records.config.UUID), zap.String("pgp_fingerprint", public.Fingerprint()))
	}
	if err := i.freshInTurn(ctx); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if s := i.snapshot.Load(); s.intent.Sealed || !s.holdsBootstrapKey {
		return nil // an operator with their own key was first
	}
	return i.unsealer.autoUnsealInTurn(ctx, "", onlyIfIntended, drops)
}

// storeRecords are the records of a store that is about to be created.
type storeRecords struct {
	config  *holders.Config
	root    *envelope.Key
	ring    *barrier.Keyring
	records []store.Op
}

// newStoreRecords makes all keys of a store whose unseal key the owners of keys
// hold.
func newStoreRecords(id string, keys []*pgp.PublicKey, threshold int) (*storeRecords, error) {
	unsealKey, held, err := holders.New(keys, threshold, id)
	if err != nil {
		return nil, err
	}
	defer unsealKey.Clear()
	r := &storeRecords{root: barrier.NewKey(), ring: barrier.NewKeyring()}
	config, err := holders.NewConfig(id, held).Encode(r.root)
	if err != nil {
		return nil, err
	}
	if r.config, err = holders.ParseConfig(config); err != nil {
		return nil, fmt.Errorf("parse %s: %w", barrier.KeyConfig, err)
	}
	keyring, err := r.ring.Seal(r.root, id)
	if err != nil {
		return nil, err
	}
	r.records = []store.Op{
		store.Create(barrier.KeyConfig, config),
		store.Create(barrier.IdentityKey(id), []byte(id)),
		store.Create(barrier.KeyRoot, sealRoot(unsealKey, id, r.root)),
		store.Create(barrier.KeyKeyring, keyring),
	}
	return r, nil
}

func (r *storeRecords) createOps(in intent) []store.Op {
	return append(append([]store.Op(nil), r.records...), store.Create(barrier.KeyIntent, in.encode()))
}

func (r *storeRecords) clear() {
	r.root.Clear()
	r.ring.Clear()
}

// sealRoot makes the record of the root key.
func sealRoot(unsealKey *envelope.Key, id string, root *envelope.Key) (record []byte) {
	scrub.Do(func() {
		plain := root.Bytes()
		defer clear(plain)
		record = envelope.Seal(unsealKey, rootPlace(id), envelope.Header{Kind: envelope.KindRoot, Version: 1, ID: envelope.NewID()}, plain)
	})
	return record
}

func rootPlace(uuid string) envelope.Place {
	return envelope.Place{Store: uuid, Kind: envelope.KindRoot, Path: barrier.KeyRoot}
}

// createStore commits the records of a new store, and returns their versions.
// ErrInitialized if another server was first.
func (i *Initializer) createStore(ctx context.Context, ops []store.Op) ([]store.Version, error) {
	versions, err := i.backend.Apply(ctx, ops...)
	if errors.Is(err, store.ErrExists) {
		return nil, ErrInitialized
	}
	if err != nil {
		return nil, fmt.Errorf("initialize: %w", err)
	}
	return versions, nil
}
