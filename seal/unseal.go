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
	return s.whileSealed(ctx, func(drops uint64) error {
		cfg := s.view.Load().config
		key, err := s.unsealing.add(&cfg.holding, cfg.UUID, share)
		if err != nil || key == nil {
			return err
		}
		defer key.Clear()
		return s.unsealInTurn(ctx, key, byOperator, drops)
	})
}

// whileSealed takes the turn and a fresh look, and runs fn unless the store is
// unsealed already. drops is the barrier's dropCount from before the look.
func (s *Store) whileSealed(ctx context.Context, fn func(drops uint64) error) (Status, error) {
	if err := s.takeTurn(ctx); err != nil {
		return s.Status(), err
	}
	defer s.giveTurn()
	drops := s.barrier.dropCount()
	if err := s.lookInTurn(ctx); err != nil {
		return s.Status(), err
	}
	if s.barrier.isOpen() {
		return s.Status(), nil
	}
	err := fn(drops)
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
	return s.whileSealed(ctx, func(drops uint64) error {
		return s.autoUnsealInTurn(ctx, encrypted, byOperator, drops)
	})
}

// lookInTurn brings the view up to date for an operator's request.
func (s *Store) lookInTurn(ctx context.Context) error {
	if err := s.lookNow(ctx); err != nil {
		return err
	}
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

func (s *Store) autoUnsealInTurn(ctx context.Context, encrypted string, w wish, drops uint64) error {
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
	return s.unsealInTurn(ctx, key, w, drops)
}

// unsealInTurn opens the keys under a verified unseal key, records the intent if
// an operator asked, and puts the keys in place. drops is the barrier's
// dropCount at the beginning of the turn: a seal that has come since wins.
func (s *Store) unsealInTurn(ctx context.Context, unsealKey *envelope.Key, w wish, drops uint64) error {
	v := s.view.Load()
	o, err := openKeys(v, unsealKey)
	if err != nil {
		return err
	}
	if err := s.completeKeys(ctx, v, o, w); err != nil {
		o.clear()
		if errors.Is(err, errNotMeant) {
			return nil
		}
		return err
	}
	pin := o.rootPin()
	if !s.barrier.install(o, drops) {
		return ErrSealed // sealed again in this very moment
	}
	s.pin = pin
	if w == byOperator {
		s.sealPending.Store(false)
	}
	s.log.Info("unsealed", zap.String("store", o.uuid))
	return nil
}

// errNotMeant: the recorded intent is no genuine wish to be unsealed.
var errNotMeant = errors.New("the store is not meant to be unsealed")

// completeKeys checks the keys against what this server knows, and finds or
// makes the versions that writes will check.
func (s *Store) completeKeys(ctx context.Context, v *view, o *opened, w wish) error {
	if err := s.checkPin(o); err != nil {
		return err
	}
	identity, err := s.backend.Get(ctx, identityKey(o.uuid), store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return corrupt(identityKey(o.uuid), err)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", identityKey(o.uuid), err)
	}
	o.identityVersion = identity.Version
	if v.intent.unsealedUnder(o.uuid, o.root) {
		return nil
	}
	if w == onlyIfMeant {
		return errNotMeant
	}
	return s.recordUnsealed(ctx, v, o)
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
		uuid: id, root: root, ring: ring, names: names, seal: v.intent.Seal,
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
func (s *Store) recordUnsealed(ctx context.Context, v *view, o *opened) error {
	if o.seal == "" {
		o.seal = newNonce() // junk, or an old record put back
	}
	data := unsealedIntent(o.seal, o.uuid, o.root).encode()
	versions, err := s.backend.Apply(ctx, v.intentOps(data)...)
	var refused *store.OpError
	if errors.As(err, &refused) {
		return s.unsealedByAnother(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("record the unseal: %w", err)
	}
	o.intentVersion = versions[1]
	return nil
}

// unsealedByAnother accepts an intent that was changed at the same moment if it
// says the same: somebody has ended the same seal on another server.
func (s *Store) unsealedByAnother(ctx context.Context, o *opened) error {
	v, err := s.look(ctx)
	if err != nil {
		return fmt.Errorf("record the unseal: %w", err)
	}
	if v.kind != storagePresent || v.intent.Seal != o.seal || !v.intent.unsealedUnder(o.uuid, o.root) {
		return fmt.Errorf("%w: it was sealed by somebody at this moment; try again", ErrSealed)
	}
	o.intentVersion = v.intentVersion
	return nil
}

// intentOps replaces the intent as it was seen, in the store as it was seen: a
// storage that is being wiped must not be left with an intent alone.
func (v *view) intentOps(data []byte) []store.Op {
	ops := []store.Op{store.Check(keyConfig, v.configVersion), store.Set(keyIntent, data, v.intentVersion)}
	if v.intentMissing {
		ops[1] = store.Create(keyIntent, data)
	}
	return ops
}

// InitInfo returns the wrapped keys and whether the store is initialised.
// ErrDamaged, store.ErrUnavailable.
func (s *Store) InitInfo(ctx context.Context) (InitInfo, error) {
	v, err := s.look(ctx)
	if err != nil {
		return InitInfo{}, err
	}
	if known := s.view.Load().config; known != nil {
		v = samestore(known.UUID, v)
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
