package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Seal drops the keys and then records the intent, so that it survives a
// restart and reaches the other servers. Sealing a sealed store is not an
// error. When Seal returns, the keys cannot be found in memory. by is the uid of
// the user who wants it, for people to see.
// ErrSealNotRecorded (it also matches the cause), ErrUninitialized.
func (u *Unsealer) Seal(ctx context.Context, by string) (Status, error) {
	st, err := u.dropAndRecord(ctx, sealOrder{by: by, at: time.Now().UTC().Truncate(time.Second)})
	u.scrubbing.forgetKeys()
	return st, err
}

func (u *Unsealer) dropAndRecord(ctx context.Context, order sealOrder) (Status, error) {
	u.sealOrder.Store(&order)
	u.sealPending.Store(true) // before the drop: no automatic unseal in between
	if u.barrier.Drop() {
		u.log.Warn("sealed", zap.String("reason", "by hand"), zap.String("uid", order.by))
	}
	u.noteState()
	u.unsealing.Reset()
	u.rekeys.forgetRekeyShares()
	if err := u.takeTurn(ctx); err != nil {
		return u.Status(), fmt.Errorf("%w: %w", ErrSealNotRecorded, err)
	}
	defer u.giveTurn()
	// An unseal that had the turn may have installed keys again.
	u.sealPending.Store(true)
	u.barrier.Drop()
	u.noteState()
	err := u.recordSealInTurn(ctx)
	return u.Status(), err
}

// retrySealRecord records a seal that could not be recorded at once.
func (u *Unsealer) retrySealRecord(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	if u.takeTurn(ctx) != nil {
		return
	}
	defer u.giveTurn()
	if !u.sealPending.Load() {
		return // an operator has unsealed since
	}
	if err := u.recordSealInTurn(ctx); err == nil {
		u.log.Info("the seal is recorded now")
	}
}

// recordSealInTurn writes a sealed intent with a new id, unless the store is
// recorded as sealed already.
func (u *Unsealer) recordSealInTurn(ctx context.Context) error {
	for {
		if err := u.freshInTurn(ctx); err != nil {
			return u.notRecorded(err)
		}
		s := u.snapshot.Load()
		if s.intent.Sealed && !s.intentMissing {
			u.sealPending.Store(false)
			return nil
		}
		_, err := u.backend.Apply(ctx, s.intentOps(sealedByHand(*u.sealOrder.Load()).encode())...)
		var refused *store.OpError
		switch {
		case err == nil:
			u.sealPending.Store(false)
			u.readAfterWrite(ctx)
			return nil
		case errors.As(err, &refused):
			continue // changed meanwhile: take another snapshot
		default:
			return u.notRecorded(err)
		}
	}
}

// notRecorded says whether the seal is still to be recorded: a store that does
// not exist has nothing to seal. A damaged one may be repaired, and was sealed
// on purpose.
func (u *Unsealer) notRecorded(err error) error {
	if errors.Is(err, barrier.ErrUninitialized) {
		u.sealPending.Store(false)
		return err
	}
	return fmt.Errorf("%w: %w", ErrSealNotRecorded, err)
}
