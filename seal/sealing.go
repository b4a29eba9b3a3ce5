package seal

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"secretstore/store"
)

// Seal drops the keys and then records the intent, so that it survives a
// restart and reaches the other servers. Sealing a sealed store is no error.
// ErrSealNotRecorded (it also matches the cause), ErrUninitialized.
func (s *Store) Seal(ctx context.Context) (Status, error) {
	s.sealPending.Store(true) // before the drop: no automatic unseal in between
	if s.barrier.drop() {
		s.log.Warn("sealed", zap.String("reason", "by hand"))
	}
	s.unsealing.reset()
	s.verifying.reset()
	if err := s.takeTurn(ctx); err != nil {
		return s.Status(), fmt.Errorf("%w: %w", ErrSealNotRecorded, err)
	}
	defer s.giveTurn()
	// An unseal that had the turn may have put keys in place again.
	s.sealPending.Store(true)
	s.barrier.drop()
	err := s.recordSealInTurn(ctx)
	return s.Status(), err
}

// retrySealRecord writes down a seal that could not be recorded at once.
func (s *Store) retrySealRecord(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	if s.takeTurn(ctx) != nil {
		return
	}
	defer s.giveTurn()
	if !s.sealPending.Load() {
		return // an operator has unsealed since
	}
	if err := s.recordSealInTurn(ctx); err == nil {
		s.log.Info("the seal is recorded now")
	}
}

// recordSealInTurn writes the sealed intent under the next epoch, unless the
// store is recorded as sealed already.
func (s *Store) recordSealInTurn(ctx context.Context) error {
	for {
		if err := s.lookInTurn(ctx); err != nil {
			return s.notRecorded(err)
		}
		v := s.view.Load()
		if v.intent.Sealed && !v.intentMissing {
			s.sealPending.Store(false)
			return nil
		}
		_, err := s.backend.Apply(ctx, v.intentOps(sealedIntent(newNonce()).encode())...)
		var refused *store.OpError
		switch {
		case err == nil:
			s.sealPending.Store(false)
			s.lookAfter(ctx)
			return nil
		case errors.As(err, &refused):
			continue // changed under our hands: look again
		default:
			return s.notRecorded(err)
		}
	}
}

// notRecorded says whether the seal is still to be recorded: a store that is
// not there has nothing to seal. A damaged one may be mended, and was sealed on
// purpose.
func (s *Store) notRecorded(err error) error {
	if errors.Is(err, ErrUninitialized) {
		s.sealPending.Store(false)
		return err
	}
	return fmt.Errorf("%w: %w", ErrSealNotRecorded, err)
}
