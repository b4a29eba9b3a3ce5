package seal

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/store"
)

// Unseal takes the unseal key, or one share of it, as its holder's gpg prints
// it, with white space around it ignored. Shares are kept in memory until there
// are enough, at most shareLife; the same share twice counts once. Shares
// entered at an unsealed store are not looked at. ErrBadKey, ErrWrongKey,
// ErrUninitialized, ErrDamaged, ErrCorrupt.
func (s *Store) Unseal(ctx context.Context, share string) (Status, error) {
	if err := s.takeTurn(ctx); err != nil {
		return s.Status(), err
	}
	defer s.giveTurn()
	if err := s.lookInTurn(ctx); err != nil {
		return s.Status(), err
	}
	if s.barrier.isOpen() {
		return s.Status(), nil
	}
	cfg := s.view.Load().config
	key, err := s.unsealing.add(&cfg.holding, cfg.UUID, share)
	if err == nil && key != nil {
		defer key.Clear()
		err = s.unsealInTurn(ctx, key, byOperator)
	}
	return s.Status(), err
}

// ResetUnseal forgets the shares that were entered.
func (s *Store) ResetUnseal(ctx context.Context) (Status, error) {
	if err := s.takeTurn(ctx); err != nil {
		return s.Status(), err
	}
	defer s.giveTurn()
	s.unsealing.reset()
	return s.Status(), s.ready()
}

// AutoUnseal unseals with the bootstrap private key. encrypted is the wrapped
// key as InitInfo gives it, or "" for the one in the storage.
// ErrNoBootstrapKey, ErrWrongKey, ErrUninitialized, ErrDamaged, ErrCorrupt.
func (s *Store) AutoUnseal(ctx context.Context, encrypted string) (Status, error) {
	if err := s.takeTurn(ctx); err != nil {
		return s.Status(), err
	}
	defer s.giveTurn()
	if err := s.lookInTurn(ctx); err != nil {
		return s.Status(), err
	}
	if s.barrier.isOpen() {
		return s.Status(), nil
	}
	err := s.autoUnsealInTurn(ctx, encrypted, byOperator)
	return s.Status(), err
}

// lookInTurn brings the view up to date for an operator's request.
func (s *Store) lookInTurn(ctx context.Context) error {
	v, err := s.look(ctx)
	if err != nil {
		return err
	}
	s.adopt(v)
	return s.ready()
}

// wish is on whose behalf the store is unsealed.
type wish int

const (
	// onlyIfMeant: by the server itself, only if the recorded intent is a
	// genuine unsealed one.
	onlyIfMeant wish = iota
	// byOperator: by a superuser, who thereby makes it the intent.
	byOperator
)

func (s *Store) autoUnsealInTurn(ctx context.Context, encrypted string, w wish) error {
	cfg := s.view.Load().config
	private, err := s.keeper.load(ctx)
	if err != nil {
		return err
	}
	if encrypted == "" {
		encrypted = cfg.Keys[0]
	}
	message, err := hex.DecodeString(strings.TrimSpace(encrypted))
	if err != nil {
		return fmt.Errorf("%w: the encrypted key must be hex, as GET /init gives it", ErrWrongKey)
	}
	text, err := private.Unwrap(message)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	defer clear(text)
	var alone entered // the bootstrap key has a single holder
	key, err := alone.add(&cfg.holding, cfg.UUID, string(text))
	if err != nil {
		return err
	}
	if key == nil {
		return fmt.Errorf("%w: the store has several holders", ErrNoBootstrapKey)
	}
	defer key.Clear()
	return s.unsealInTurn(ctx, key, w)
}

// unsealInTurn opens the keys under a verified unseal key, records the intent if an operator asked, and
// puts the keys in place.
func (s *Store) unsealInTurn(ctx context.Context, unsealKey *envelope.Key, w wish) error {
	drops := s.barrier.dropCount()
	v := s.view.Load()
	o, err := openKeys(v, unsealKey)
	if err != nil {
		return err
	}
	if !v.intent.unsealedUnder(o.uuid, o.root) {
		if w == onlyIfMeant {
			o.clear()
			return nil // a forged or foreign record; it stays sealed
		}
		version, err := s.recordUnsealed(ctx, v, o)
		if err != nil {
			o.clear()
			return err
		}
		o.intentVersion = version
	}
	s.sealPending.Store(false)
	if !s.barrier.install(o, drops) {
		return ErrSealed // sealed again in this very moment
	}
	s.log.Info("unsealed", zap.String("store", o.uuid), zap.Uint64("epoch", o.epoch))
	return nil
}

// openKeys decrypts the chain of keys, under a verified unseal key.
func openKeys(v *view, unsealKey *envelope.Key) (*opened, error) {
	id := v.config.UUID
	plain, _, err := envelope.Open(unsealKey, envelope.Place{Store: id, Kind: envelope.KindRoot, Path: keyRoot}, v.root)
	if err != nil {
		return nil, corrupt(keyRoot, err)
	}
	defer clear(plain)
	root, err := envelope.KeyFromBytes(plain)
	if err != nil {
		return nil, corrupt(keyRoot, err)
	}
	ring, err := openKeyring(id, root, v.keyring)
	if err != nil {
		return nil, err
	}
	names, err := newNamer(ring.name, id)
	if err != nil {
		return nil, err
	}
	return &opened{
		uuid: id, root: root, ring: ring, names: names, epoch: v.intent.Epoch,
		intentVersion: v.intentVersion, keyringVersion: v.keyringVersion,
	}, nil
}

func openKeyring(id string, root *envelope.Key, data []byte) (*keyring, error) {
	plain, _, err := envelope.Open(root, envelope.Place{Store: id, Kind: envelope.KindKeyring, Path: keyKeyring}, data)
	if err != nil {
		return nil, corrupt(keyKeyring, err)
	}
	defer clear(plain)
	ring, err := decodeKeyring(plain)
	if err != nil {
		return nil, corrupt(keyKeyring, err)
	}
	return ring, nil
}

// recordUnsealed writes the wish to be unsealed, if nobody has changed the
// intent since it was looked at: an operator who seals elsewhere at this moment
// wins.
func (s *Store) recordUnsealed(ctx context.Context, v *view, o *opened) (store.Version, error) {
	data := unsealedIntent(o.epoch, o.uuid, o.root).encode()
	op := store.Set(keyIntent, data, v.intentVersion)
	if v.intentMissing {
		op = store.Create(keyIntent, data)
	}
	versions, err := s.backend.Apply(ctx, op)
	switch {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrExists), errors.Is(err, store.ErrNotFound):
		return 0, fmt.Errorf("%w: it was sealed by somebody at this moment; try again", ErrSealed)
	case err != nil:
		return 0, fmt.Errorf("record the unseal: %w", err)
	}
	return versions[0], nil
}

// InitInfo returns the wrapped keys and whether the store is initialised.
// ErrDamaged, store.ErrUnavailable.
func (s *Store) InitInfo(ctx context.Context) (InitInfo, error) {
	v, err := s.look(ctx)
	if err != nil {
		return InitInfo{}, err
	}
	switch v.kind {
	case storageEmpty:
		return InitInfo{}, nil
	case storagePresent:
		return v.config.info(), nil
	default:
		return InitInfo{}, ErrDamaged
	}
}
