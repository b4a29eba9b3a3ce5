package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Run works on rotations until the context ends.
func Run(ctx context.Context, r *Rotation) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	var state workState
	lastErr := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
		}
		err := r.workIfNeeded(ctx, &state)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil || errors.Is(err, barrier.ErrSealed) || errors.Is(err, errNotOurTurn):
			lastErr = ""
		case err.Error() != lastErr:
			r.config.Log.Warn("rotation is not making progress; retrying", zap.Error(err))
			lastErr = err.Error()
		}
	}
}

// workState is what Run remembers.
type workState struct {
	// When another server last showed progress, by this server's own clock.
	owner string
	beat  uint64
	since time.Time

	// After a sweep that damaged records kept from completing, this server waits
	// before the next one, unless there is a newer term.
	pauseUntil time.Time
	pausedTerm uint32
	// sweptTerm is the term that a sweep of this server has moved everything to.
	sweptTerm uint32
}

// mayWork reports whether this server may work: no other does, or the one that
// did has shown no progress for the lease.
func (w *workState) mayWork(record progressRecord, self string, now time.Time) bool {
	if record.Owner == self || record.Owner == "" {
		return true
	}
	if w.owner != record.Owner || w.beat != record.Beat {
		w.owner, w.beat, w.since = record.Owner, record.Beat, now
		return false
	}
	return now.Sub(w.since) > lease
}

// workIfNeeded does one sweep over all records if the keyring has old terms.
func (r *Rotation) workIfNeeded(ctx context.Context, state *workState) error {
	term, terms, err := r.terms()
	if err != nil {
		return nil // sealed
	}
	if terms < 2 {
		if r.compactDue.Load() {
			return r.compact(ctx)
		}
		return nil
	}
	if time.Now().Before(state.pauseUntil) && state.pausedTerm == term {
		return errNotOurTurn
	}
	state.pausedTerm = term
	record, version, err := r.readProgress(ctx)
	if err != nil {
		return err
	}
	if !state.mayWork(record, r.config.ServerID, time.Now()) {
		return errNotOurTurn
	}
	s := newSweep(r, term, state.sweptTerm == term)
	if err := s.run(ctx, record.Beat, version); err != nil {
		return err
	}
	if n, key := s.damage.first(); n > 0 {
		state.pauseUntil = time.Now().Add(blockedPause)
		return fmt.Errorf("%d damaged records keep the older data keys from being removed; restore or remove them, for example %s", n, key)
	}
	if s.old.Load() > 0 {
		state.sweptTerm = term
		Wake(r) // the keys are removed only after a sweep that finds nothing
		return nil
	}
	return r.forgetOldTerms(ctx, term)
}

// forgetOldTerms removes all keys but the one of term. It follows a sweep that
// began after that term was in force and found nothing under another; since
// then every write has been checked against that keyring.
func (r *Rotation) forgetOldTerms(ctx context.Context, term uint32) error {
	give, err := r.config.TakeTurn(ctx)
	if err != nil {
		return err
	}
	defer give()
	r.compactDue.Store(true) // before the keys are removed, so that the rotation does not look done
	err = r.writeKeyring(ctx, func(ring *barrier.Keyring) (*barrier.Keyring, error) {
		if ring.Active != term {
			return nil, errNotOurTurn // rotated again meanwhile
		}
		return ring.WithActiveOnly(), nil
	})
	if err != nil {
		return err
	}
	r.config.Log.Info("the rotation is done; older data keys are removed", zap.Uint32("term", term))
	return r.compact(ctx)
}

// compact leaves nothing under the old keys behind, if the backend can.
func (r *Rotation) compact(ctx context.Context) error {
	if backend, ok := r.config.Backend.(store.Compacter); ok {
		if err := backend.Compact(ctx); err != nil {
			return fmt.Errorf("rewrite the storage: %w", err)
		}
	}
	r.compactDue.Store(false)
	return nil
}
