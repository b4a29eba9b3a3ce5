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
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
		}
		err := r.workIfNeeded(ctx, &state)
		if ctx.Err() != nil {
			return
		}
		r.note(&state, err, time.Now())
	}
}

// note keeps why this server cannot continue the rotation, for people. What
// damaged records keep it from is in the rotation record.
func (r *Rotation) note(state *workState, err error, now time.Time) {
	var damaged *damagedRecords
	switch {
	case errors.Is(err, errNotOurTurn):
		if now.Before(state.pauseUntil) {
			return // what was noted still holds
		}
		err = nil
	case errors.Is(err, barrier.ErrSealed):
		err = nil
	}
	if err == nil {
		state.lastErr = ""
		r.failed.Store(nil)
		return
	}
	text := err.Error()
	if text != state.lastErr {
		r.config.Log.Warn("rotation is not making progress; retrying", zap.Error(err))
	}
	if state.lastErr == "" {
		state.failingSince = now
	}
	state.lastErr = text
	switch {
	case errors.As(err, &damaged):
		r.failed.Store(nil)
	case !errors.Is(err, store.ErrUnavailable), now.Sub(state.failingSince) > stuckAfter:
		r.failed.Store(&text)
	}
}

// damagedRecords keep a rotation from completing.
type damagedRecords struct {
	count int64
	key   store.Key // of one
}

func (e *damagedRecords) Error() string {
	return fmt.Sprintf("%d damaged record(s) keep the older data keys in use: restore or remove them; one is %s", e.count, e.key)
}

// workState is what Run remembers.
type workState struct {
	// When another server last showed progress, by this server's own clock.
	owner string
	beat  uint64
	since time.Time

	// After a sweep that cannot complete, this server waits before the next one,
	// unless there is a newer term.
	pauseUntil time.Time
	pausedTerm uint32
	// sweptTerm is the term that a sweep of this server has moved everything to.
	sweptTerm uint32

	// The last error, "" after a success, and since when there are errors.
	lastErr      string
	failingSince time.Time
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
		r.config.Barrier.Damage().Report(barrier.KeyRotation, barrier.Finding{})
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
		r.config.Barrier.Damage().Report(barrier.KeyRotation, barrier.Finding{})
		return errNotOurTurn
	}
	s := newSweep(r, term, state.sweptTerm == term, record)
	if err := s.run(ctx, version); err != nil {
		if !errors.Is(err, errNotOurTurn) && !errors.Is(err, barrier.ErrSealed) && !errors.Is(err, store.ErrUnavailable) {
			state.pauseUntil = time.Now().Add(failedPause)
			s.fail(ctx, err)
		}
		return err
	}
	found := s.damage.all()
	found.Foreign = 0 // lists count them
	r.config.Barrier.Damage().Report(barrier.KeyRotation, found)
	if n, key := s.damage.first(); n > 0 {
		state.pauseUntil = time.Now().Add(stuckPause)
		return &damagedRecords{n, key}
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
