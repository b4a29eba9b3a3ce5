package lifecycle

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"secretstore/internal/scrub"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/holders"
	"secretstore/store"
)

// Unsealer unseals and seals.
type Unsealer struct{ *machine }

// Unseal takes the unseal key, or one share of it, as its holder's gpg prints
// it, and ignores white space around it. Shares are kept in memory until there
// are enough, at most 15 minutes after the newest and an hour after the first;
// the same share twice counts once. An unsealed store ignores shares. The caller
// clears the share. ErrBadKey, ErrWrongKey, ErrUninitialized, ErrDamaged,
// ErrCorrupt.
func (u *Unsealer) Unseal(ctx context.Context, share []byte) (Status, error) {
	return u.whileSealed(ctx, func(drops uint64) error {
		cfg := u.snapshot.Load().config
		key, err := u.unsealing.Add(&cfg.Holding, cfg.UUID, share)
		if err != nil || key == nil {
			return err
		}
		defer key.Clear()
		return u.unsealInTurn(ctx, key, byOperator, drops)
	})
}

// whileSealed takes the turn and a fresh snapshot, and runs fn unless the store
// is unsealed already. drops is the barrier's DropCount before the snapshot.
func (u *Unsealer) whileSealed(ctx context.Context, fn func(drops uint64) error) (Status, error) {
	if err := u.takeTurn(ctx); err != nil {
		return u.Status(), err
	}
	defer u.giveTurn()
	drops := u.barrier.DropCount()
	if err := u.freshInTurn(ctx); err != nil {
		return u.Status(), err
	}
	if u.barrier.IsOpen() {
		return u.Status(), nil
	}
	err := fn(drops)
	return u.Status(), err
}

// ResetUnseal forgets the shares that were entered.
func (u *Unsealer) ResetUnseal(ctx context.Context) (Status, error) {
	if err := u.takeTurn(ctx); err != nil {
		return u.Status(), err
	}
	defer u.giveTurn()
	u.unsealing.Reset()
	return u.Status(), u.ready()
}

// AutoUnseal unseals with the bootstrap private key. encrypted is the wrapped
// key as InitInfo gives it, or "" for the one in the storage.
// ErrNoBootstrapKey, ErrWrongKey, ErrUninitialized, ErrDamaged, ErrCorrupt.
func (u *Unsealer) AutoUnseal(ctx context.Context, encrypted string) (Status, error) {
	return u.whileSealed(ctx, func(drops uint64) error {
		return u.autoUnsealInTurn(ctx, encrypted, byOperator, drops)
	})
}

// unsealReason is on whose behalf the store is unsealed.
type unsealReason int

const (
	// onlyIfIntended: the server unseals by itself, and only if the recorded
	// intent is a genuine unsealed one.
	onlyIfIntended unsealReason = iota
	// byOperator: a superuser unseals, which changes the intent.
	byOperator
)

func (u *Unsealer) autoUnsealInTurn(ctx context.Context, encrypted string, why unsealReason, drops uint64) error {
	cfg := u.snapshot.Load().config
	private, err := u.bootstrapKeyStore.Load(ctx)
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
	var text []byte
	scrub.Do(func() { text, err = private.Unwrap(message) })
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	defer clear(text)
	var single holders.ShareCollector // a bootstrap key is the only holder
	key, err := single.Add(&cfg.Holding, cfg.UUID, text)
	if err != nil {
		return err
	}
	if key == nil {
		return fmt.Errorf("%w: the store has several holders", ErrNoBootstrapKey)
	}
	defer key.Clear()
	return u.unsealInTurn(ctx, key, why, drops)
}

// unsealInTurn decrypts the keys with a verified unseal key, records the intent
// if an operator asked, and installs the keys. drops is the barrier's DropCount
// at the beginning of the turn: a seal that has come since wins.
func (u *Unsealer) unsealInTurn(ctx context.Context, unsealKey *envelope.Key, why unsealReason, drops uint64) error {
	for range barrier.MaxAttempts {
		err := u.unsealOnce(ctx, unsealKey, why, drops)
		if !errors.Is(err, errUnsealedMeanwhile) {
			return err
		}
		if err := u.freshInTurn(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %w", errUnsealedMeanwhile, store.ErrUnavailable)
}

func (u *Unsealer) unsealOnce(ctx context.Context, unsealKey *envelope.Key, why unsealReason, drops uint64) error {
	s := u.snapshot.Load()
	k, err := openKeys(s, unsealKey)
	if err != nil {
		return err
	}
	if err := u.completeKeys(ctx, s, k, why); err != nil {
		k.Clear()
		var lower *LowerModeError
		if errors.As(err, &lower) {
			u.mode.refuse(lower, u.pin == nil)
			u.scrubbing.forgetKeysSoon()
		}
		var restore *RestoreError
		if errors.As(err, &restore) {
			u.noteRestoreProblem(restore)
		}
		if errors.Is(err, errNotIntended) || (lower != nil || restore != nil) && why == onlyIfIntended {
			return nil
		}
		return err
	}
	pin := k.RootPin()
	if !u.barrier.Install(k, drops) {
		return barrier.ErrSealed // sealed again meanwhile
	}
	u.servers.noteKeys()
	u.noteState()
	u.missedHandover.Store(false)
	u.restoreProblem.Store(nil)
	u.pin = pin
	if why == byOperator {
		u.sealPending.Store(false)
		u.scrubbing.forgetShares()
	}
	u.log.Info("unsealed", zap.String("store", k.UUID))
	u.trust.noteUnseal(s, u.snapshot.Load())
	u.mode.check(u.snapshot.Load())
	u.completeRecords(ctx)
	return nil
}

// errNotIntended: the recorded intent is not a genuine one to be unsealed.
var errNotIntended = errors.New("the store is not meant to be unsealed")

// completeKeys checks the keys against what this server knows, and finds or
// makes the versions that writes will check.
func (u *Unsealer) completeKeys(ctx context.Context, s *snapshot, k *barrier.Keys, why unsealReason) error {
	if err := u.checkPin(k); err != nil {
		return err
	}
	identityKey := barrier.IdentityKey(k.UUID)
	identity, err := u.backend.Get(ctx, identityKey, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return barrier.Corrupt(identityKey, err)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", identityKey, err)
	}
	k.IdentityVersion = identity.Version
	intended := s.intent.unsealedUnder(k.UUID, k.Root)
	if !intended && why == onlyIfIntended {
		return errNotIntended
	}
	if err := u.mode.permits(k.UUID, k.Root, s); err != nil {
		return err
	}
	switch r, err := u.restoredSince(ctx, s, k); {
	case err != nil:
		return err
	case r != nil:
		return u.beginIncarnation(ctx, s, k, r, intended)
	case intended:
		return nil
	}
	return u.recordUnsealed(ctx, s, k)
}

// openRoot decrypts the root key. ErrCorrupt.
func openRoot(s *snapshot, unsealKey *envelope.Key) (*envelope.Key, error) {
	plain, _, err := envelope.Open(unsealKey, rootPlace(s.config.UUID), s.root)
	if err != nil {
		return nil, barrier.Corrupt(barrier.KeyRoot, err)
	}
	defer clear(plain)
	root, err := envelope.KeyFromBytes(plain)
	if err != nil {
		return nil, barrier.Corrupt(barrier.KeyRoot, err)
	}
	return root, nil
}

// openKeys decrypts the chain of keys with a verified unseal key.
func openKeys(s *snapshot, unsealKey *envelope.Key) (k *barrier.Keys, err error) {
	scrub.Do(func() { k, err = decryptKeys(s, unsealKey) })
	return k, err
}

func decryptKeys(s *snapshot, unsealKey *envelope.Key) (*barrier.Keys, error) {
	id := s.config.UUID
	root, err := openRoot(s, unsealKey)
	if err != nil {
		return nil, err
	}
	ring, err := barrier.OpenKeyring(id, root, s.keyring)
	if err != nil {
		return nil, err
	}
	k, err := barrier.NewKeys(id, root, ring)
	if err != nil {
		return nil, err
	}
	k.LastSeal, k.IntentVersion, k.KeyringVersion = s.intent.Seal, s.intentVersion, s.keyringVersion
	return k, nil
}

// recordUnsealed writes the intent to be unsealed, unless it was changed since
// the snapshot: an operator who seals elsewhere at the same time wins.
func (u *Unsealer) recordUnsealed(ctx context.Context, s *snapshot, k *barrier.Keys) error {
	versions, err := u.backend.Apply(ctx, s.intentOps(u.intentOf(k))...)
	var refused *store.OpError
	if errors.As(err, &refused) {
		return u.unsealedByAnother(ctx, k)
	}
	if err != nil {
		return fmt.Errorf("record the unseal: %w", err)
	}
	k.IntentVersion = versions[1]
	return nil
}

// intentOf returns the record of the intent to be unsealed with k.
func (u *Unsealer) intentOf(k *barrier.Keys) []byte {
	if k.LastSeal == "" {
		k.LastSeal = newNonce() // there was no record, or it was junk, or an old one put back
	}
	return unsealedIntent(k.LastSeal, k.UUID, k.Root).encode()
}

// unsealedByAnother accepts an intent that was changed at the same time, if it
// says the same: somebody has ended the same seal on another server.
func (u *Unsealer) unsealedByAnother(ctx context.Context, k *barrier.Keys) error {
	s, err := u.snapshots.takeSnapshot(ctx)
	if err != nil {
		return fmt.Errorf("record the unseal: %w", err)
	}
	if s.state != storagePresent || s.intent.Seal != k.LastSeal || !s.intent.unsealedUnder(k.UUID, k.Root) {
		return fmt.Errorf("%w: somebody has sealed it at the same time; try again", barrier.ErrSealed)
	}
	k.IntentVersion = s.intentVersion
	return nil
}
