package seal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/seal/pgp"
	"secretstore/store"
)

// Init makes the keys of an empty storage, in one transaction: of many servers
// that try at once exactly one wins, and a crash leaves nothing half-made. The
// store is sealed afterwards. ErrInitialized, ErrBadShares, ErrDamaged,
// *pgp.KeyError.
func (s *Store) Init(ctx context.Context, p InitParams) (InitInfo, error) {
	if p.Shares != len(p.PGPKeys) {
		return InitInfo{}, fmt.Errorf("%w: shares is %d, but there are %d pgp_keys; give one public key for each share", ErrBadShares, p.Shares, len(p.PGPKeys))
	}
	if p.Shares != 1 || p.Threshold != 1 {
		return InitInfo{}, fmt.Errorf("%w: shares and threshold must both be 1", ErrBadShares)
	}
	key, err := pgp.ParsePublicKey(p.PGPKeys[0], time.Now())
	if err != nil {
		return InitInfo{}, err
	}
	if err := s.takeTurn(ctx); err != nil {
		return InitInfo{}, err
	}
	defer s.giveTurn()
	switch err := s.lookInTurn(ctx); {
	case err == nil:
		return InitInfo{}, ErrInitialized
	case !errors.Is(err, ErrUninitialized):
		return InitInfo{}, err
	}
	born, err := newBirth(key)
	if err != nil {
		return InitInfo{}, err
	}
	defer born.clear()
	if err := s.createStore(ctx, born.ops(sealedIntent(1))); err != nil {
		return InitInfo{}, err
	}
	s.log.Info("initialized", zap.String("store", born.config.UUID), zap.Strings("pgp_fingerprints", born.config.Fingerprints))
	return InitInfo{Initialized: true, Keys: born.config.Keys, Fingerprints: born.config.Fingerprints}, s.lookInTurn(ctx)
}

// bootstrapInTurn initialises an empty storage with a key pair of its own, and
// unseals.
func (s *Store) bootstrapInTurn(ctx context.Context) error {
	private, keep, err := s.keeper.prepare(ctx)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	public, err := private.Public(time.Now())
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	born, err := newBirth(public)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	defer born.clear()
	ops := append(born.ops(unsealedIntent(1, born.config.UUID, born.root)), keep...)
	switch err := s.createStore(ctx, ops); {
	case errors.Is(err, ErrInitialized):
		s.log.Info("another server has initialized the store")
	case err != nil:
		return fmt.Errorf("bootstrap: %w", err)
	default:
		s.log.Info("initialized with a new bootstrap key", zap.String("store", born.config.UUID), zap.String("pgp_fingerprint", public.Fingerprint()))
	}
	if err := s.lookInTurn(ctx); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if v := s.view.Load(); v.intent.Sealed || !v.holdsBootstrapKey {
		return nil // the winner was an operator with a key of their own
	}
	return s.autoUnsealInTurn(ctx, "", onlyIfMeant)
}

// birth is a store that is about to be created.
type birth struct {
	config  *configRecord
	root    *envelope.Key
	ring    *keyring
	records []store.Op
}

// newBirth makes all keys of a store whose unseal key only the owner of key
// can open.
func newBirth(key *pgp.PublicKey) (*birth, error) {
	unsealKey := envelope.NewKey()
	defer unsealKey.Clear()
	raw := unsealKey.Bytes()
	share := make([]byte, hex.EncodedLen(len(raw)))
	hex.Encode(share, raw)
	defer clear(raw)
	defer clear(share)
	message, err := key.Wrap(share)
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	b := &birth{root: envelope.NewKey(), ring: newKeyring(), config: &configRecord{
		Format: configFormat, UUID: id, Created: time.Now().UTC(), Shares: 1, Threshold: 1,
		Keys: []string{hex.EncodeToString(message)}, Fingerprints: []string{key.Fingerprint()},
		KeyCheck: keyCheck(unsealKey, id),
	}}
	config, err := b.config.encode()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", keyConfig, err)
	}
	ring, err := b.ring.encode()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", keyKeyring, err)
	}
	defer clear(ring)
	rootPlain := b.root.Bytes()
	defer clear(rootPlain)
	b.records = []store.Op{
		store.Create(keyConfig, config),
		store.Create(keyRoot, sealKeyRecord(unsealKey, id, envelope.KindRoot, keyRoot, rootPlain)),
		store.Create(keyKeyring, sealKeyRecord(b.root, id, envelope.KindKeyring, keyKeyring, ring)),
	}
	return b, nil
}

func (b *birth) ops(in intent) []store.Op {
	return append(append([]store.Op(nil), b.records...), store.Create(keyIntent, in.encode()))
}

func (b *birth) clear() {
	b.root.Clear()
	b.ring.clear()
}

func sealKeyRecord(under *envelope.Key, id string, kind envelope.Kind, key store.Key, plain []byte) []byte {
	return envelope.Seal(under, envelope.Place{Store: id, Kind: kind, Path: key}, envelope.Header{Kind: kind, Version: 1, ID: envelope.NewID()}, plain)
}

// createStore commits the records of a new store. ErrInitialized if somebody
// else was first.
func (s *Store) createStore(ctx context.Context, ops []store.Op) error {
	_, err := s.backend.Apply(ctx, ops...)
	if errors.Is(err, store.ErrExists) {
		return ErrInitialized
	}
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	return nil
}
