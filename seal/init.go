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
	"secretstore/seal/shares"
	"secretstore/store"
)

// Init makes the keys of an empty storage, in one transaction: of many servers
// that try at once exactly one wins, and a crash leaves nothing half-made. The
// store is sealed afterwards. With p.Replace it does the init of a moment ago
// over. ErrInitialized, ErrNotReplaceable, ErrBadShares, ErrDamaged,
// *pgp.KeyError.
func (s *Store) Init(ctx context.Context, p InitParams) (InitInfo, error) {
	keys, refused := p.parse()
	if err := s.takeTurn(ctx); err != nil {
		return InitInfo{}, err
	}
	defer s.giveTurn()
	switch err := s.lookInTurn(ctx); {
	case err == nil && p.Replace == "":
		return InitInfo{}, ErrInitialized
	case err != nil && !errors.Is(err, ErrUninitialized):
		return InitInfo{}, err
	case refused != nil:
		return InitInfo{}, refused // whoever mends the key should not learn only then that it was for nothing
	case err == nil:
		return s.replaceInTurn(ctx, p, keys)
	case p.Replace != "":
		return InitInfo{}, ErrNotReplaceable
	}
	born, err := newBirth(keys, p.Threshold)
	if err != nil {
		return InitInfo{}, err
	}
	defer born.clear()
	versions, err := s.createStore(ctx, born.ops(sealedIntent(newNonce())))
	if err != nil {
		return InitInfo{}, err
	}
	s.rememberInit(p, born, versions)
	s.log.Info("initialized", zap.String("store", born.config.UUID), zap.Strings("pgp_fingerprints", born.config.Fingerprints))
	s.lookAfter(ctx)
	return born.config.info(), nil
}

// parse checks what an operator has asked for and reads the public keys.
// ErrBadShares, *pgp.KeyError.
func (p InitParams) parse() ([]*pgp.PublicKey, error) {
	if p.Shares != len(p.PGPKeys) {
		return nil, fmt.Errorf("%w: shares is %d, but there are %d pgp_keys; give one public key for each share", ErrBadShares, p.Shares, len(p.PGPKeys))
	}
	if err := shares.Check(p.Shares, p.Threshold); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadShares, err)
	}
	var keys []*pgp.PublicKey
	size := 0
	for i, text := range p.PGPKeys {
		key, err := pgp.ParsePublicKey(text, time.Now())
		var refused *pgp.KeyError
		if errors.As(err, &refused) && len(p.PGPKeys) > 1 {
			err = &pgp.KeyError{Reason: fmt.Sprintf("pgp_keys[%d]: %s", i, refused.Reason), Hint: refused.Hint}
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
		if size += key.Size(); size > maxPublicKeys {
			return nil, &pgp.KeyError{Reason: fmt.Sprintf("the PGP keys are larger than %d KiB together", maxPublicKeys>>10),
				Hint: "leave out the signatures of others: gpg --export --export-options export-minimal KEYID | base64 -w 0"}
		}
	}
	return keys, nil
}

// maxPublicKeys bounds the public keys of all holders, which are kept with the
// store's other records.
const maxPublicKeys = 256 << 10

func (c *configRecord) info() InitInfo {
	return InitInfo{Initialized: true, Keys: c.Keys, Fingerprints: c.Fingerprints}
}

// bootstrapInTurn initialises an empty storage with a key pair of its own, and
// unseals.
func (s *Store) bootstrapInTurn(ctx context.Context, drops uint64) error {
	private, keep, err := s.keeper.prepare(ctx)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	public, err := private.Public(time.Now())
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	born, err := newBirth([]*pgp.PublicKey{public}, 1)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	defer born.clear()
	ops := append(born.ops(unsealedIntent(newNonce(), born.config.UUID, born.root)), keep...)
	switch _, err := s.createStore(ctx, ops); {
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
	return s.autoUnsealInTurn(ctx, "", onlyIfMeant, drops)
}

// birth is a store that is about to be created.
type birth struct {
	config  *configRecord
	root    *envelope.Key
	ring    *keyring
	records []store.Op
}

// newBirth makes all keys of a store whose unseal key the owners of keys hold.
func newBirth(keys []*pgp.PublicKey, threshold int) (*birth, error) {
	return newBirthOf(uuid.NewString(), keys, threshold)
}

func newBirthOf(id string, keys []*pgp.PublicKey, threshold int) (*birth, error) {
	unsealKey, held, err := newHolding(keys, threshold, id)
	if err != nil {
		return nil, err
	}
	defer unsealKey.Clear()
	b := &birth{root: envelope.NewKey(), ring: newKeyring(), config: &configRecord{
		Format: configFormat, UUID: id, Created: time.Now().UTC(), holding: held,
	}}
	config, err := b.config.encode()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", keyConfig, err)
	}
	keyring, err := sealKeyring(b.root, id, b.ring)
	if err != nil {
		return nil, err
	}
	b.records = []store.Op{
		store.Create(keyConfig, config),
		store.Create(identityKey(id), []byte(id)),
		store.Create(keyRoot, sealRoot(unsealKey, id, b.root)),
		store.Create(keyKeyring, keyring),
	}
	return b, nil
}

// newHolding makes an unseal key and wraps its shares for the owners of keys.
// The plaintext of each message is the share in hex.
func newHolding(keys []*pgp.PublicKey, threshold int, store string) (*envelope.Key, holding, error) {
	unsealKey, scheme, parts, err := shares.New(len(keys), threshold)
	if err != nil {
		return nil, holding{}, fmt.Errorf("%w: %w", ErrBadShares, err)
	}
	h := holding{Shares: scheme.Shares, Threshold: scheme.Threshold, Commitments: scheme.Commitments, KeyCheck: keyCheck(unsealKey, store)}
	for i, part := range parts {
		defer part.Clear()
		text := part.Text()
		message, err := keys[i].Wrap(text)
		clear(text)
		if err != nil {
			return nil, holding{}, err
		}
		public, err := keys[i].Export()
		if err != nil {
			return nil, holding{}, err
		}
		h.Keys = append(h.Keys, hex.EncodeToString(message))
		h.Fingerprints = append(h.Fingerprints, keys[i].Fingerprint())
		h.PublicKeys = append(h.PublicKeys, public)
	}
	return unsealKey, h, nil
}

func (b *birth) ops(in intent) []store.Op {
	return append(append([]store.Op(nil), b.records...), store.Create(keyIntent, in.encode()))
}

func (b *birth) clear() {
	b.root.Clear()
	b.ring.clear()
}

// sealRoot makes the record of the root key.
func sealRoot(unsealKey *envelope.Key, id string, root *envelope.Key) []byte {
	plain := root.Bytes()
	defer clear(plain)
	return sealKeyRecord(unsealKey, id, envelope.KindRoot, keyRoot, plain)
}

// sealKeyring makes the record of the keyring.
func sealKeyring(root *envelope.Key, id string, ring *keyring) ([]byte, error) {
	plain, err := ring.encode()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", keyKeyring, err)
	}
	defer clear(plain)
	return sealKeyRecord(root, id, envelope.KindKeyring, keyKeyring, plain), nil
}

func sealKeyRecord(under *envelope.Key, id string, kind envelope.Kind, key store.Key, plain []byte) []byte {
	return envelope.Seal(under, envelope.Place{Store: id, Kind: kind, Path: key}, envelope.Header{Kind: kind, Version: 1, ID: envelope.NewID()}, plain)
}

// createStore commits the records of a new store, and returns their versions.
// ErrInitialized if somebody else was first.
func (s *Store) createStore(ctx context.Context, ops []store.Op) ([]store.Version, error) {
	versions, err := s.backend.Apply(ctx, ops...)
	if errors.Is(err, store.ErrExists) {
		return nil, ErrInitialized
	}
	if err != nil {
		return nil, fmt.Errorf("initialize: %w", err)
	}
	return versions, nil
}
