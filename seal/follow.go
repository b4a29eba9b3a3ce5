package seal

import (
	"context"
	"time"

	"go.uber.org/zap"

	"secretstore/store"
)

const (
	// followEvery is how often the records are read without a notice, as a net
	// under the watches.
	followEvery = 2 * time.Second
	// holdersEvery is how often the expiry of the holders' keys is looked at.
	holdersEvery = time.Hour
	// refreshTimeout bounds one look at the storage.
	refreshTimeout = 4 * time.Second
	// bootstrapTimeout bounds a refresh that may generate a key.
	bootstrapTimeout = 30 * time.Second
)

// follow keeps this server in step with the storage and with what was decided
// on other servers, until the context ends.
func (s *Store) follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	lastErr := ""
	told, nextTold, toldOf := make(map[string]string), time.Now(), store.Version(-1)
	warned := false // about the way the bootstrap key is kept
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
		// Also at once when a rekey has named other holders.
		v := s.view.Load()
		if now := time.Now(); now.After(nextTold) || v.configVersion != toldOf {
			s.warnAboutHolders(told)
			nextTold, toldOf = now.Add(holdersEvery), v.configVersion
		}
		if v.kind == storagePresent && !warned {
			warned = s.keeper.warn(ctx, s.log, v.config.Fingerprints) == nil
		}
		warned = warned && v.kind == storagePresent
		s.unsealing.expire()
		s.verifying.expire()
		if s.sealPending.Load() {
			s.retrySealRecord(ctx)
		}
		err := s.refreshWithin(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && lastErr != "":
			s.log.Info("the storage answers again")
			lastErr = ""
		case err != nil && err.Error() != lastErr:
			s.log.Warn("cannot follow the storage; trying on", zap.Error(err))
			lastErr = err.Error()
		}
	}
}

func (s *Store) refreshWithin(ctx context.Context) error {
	limit := refreshTimeout
	if v := s.view.Load(); s.bootstrap && v.kind != storagePresent {
		limit = bootstrapTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.refresh(ctx)
}

// refresh reads the records and does what follows from them.
func (s *Store) refresh(ctx context.Context) error {
	if s.offline {
		return nil
	}
	asked := time.Now()
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.giveTurn()
	if s.lookedAt.After(asked) {
		return nil // somebody has looked while this one waited
	}
	return s.refreshInTurn(ctx)
}

func (s *Store) refreshInTurn(ctx context.Context) error {
	drops := s.barrier.dropCount()
	if err := s.lookNow(ctx); err != nil {
		return err
	}
	s.endHandover(ctx)
	switch v := s.view.Load(); {
	case !s.bootstrap || s.sealPending.Load():
		return nil
	case v.kind == storageEmpty:
		return s.bootstrapInTurn(ctx, drops)
	case v.kind == storagePresent && !v.intent.Sealed && v.holdsBootstrapKey && !s.barrier.isOpen():
		// Not sealed on purpose: a restart, a crash, or another server's
		// unseal. Whether the intent is genuine is checked with the root key.
		return s.autoUnsealInTurn(ctx, "", onlyIfMeant, drops)
	}
	return nil
}

// lookNow reads the records and adopts them. An outage is no reason to seal: on
// an error everything stays as it is known.
func (s *Store) lookNow(ctx context.Context) error {
	started := time.Now()
	v, err := s.stableLook(ctx)
	if err != nil {
		return err
	}
	s.adopt(v)
	s.lookedAt = started
	return nil
}

// lookAfter follows a write of this server's own. What was written is true
// whether or not it can be read at this moment.
func (s *Store) lookAfter(ctx context.Context) {
	if s.lookNow(ctx) != nil {
		s.poke()
	}
}
