package seal

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
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
	told, nextTold := make(map[string]string), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
		if now := time.Now(); now.After(nextTold) {
			s.warnAboutHolders(told)
			nextTold = now.Add(holdersEvery)
		}
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
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.giveTurn()
	return s.refreshInTurn(ctx)
}

func (s *Store) refreshInTurn(ctx context.Context) error {
	v, err := s.look(ctx)
	if err != nil {
		return err // an outage is no reason to seal: keep what is known
	}
	s.adopt(v)
	if err := s.endHandover(ctx); err != nil {
		return err
	}
	switch v := s.view.Load(); {
	case !s.bootstrap || s.sealPending.Load():
		return nil
	case v.kind == storageEmpty:
		return s.bootstrapInTurn(ctx)
	case v.kind == storagePresent && !v.intent.Sealed && v.holdsBootstrapKey && !s.barrier.isOpen():
		// Not sealed on purpose: a restart, a crash, or another server's
		// unseal. Whether the intent is genuine is checked with the root key.
		return s.autoUnsealInTurn(ctx, "", onlyIfMeant)
	}
	return nil
}

// adopt makes v the view and drops keys that it no longer permits.
func (s *Store) adopt(v *view) {
	old := s.view.Load()
	if old.config != nil {
		v = samestore(old.config.UUID, v)
		if v.config == nil {
			v.config = old.config // remembers which store this server serves
		}
	}
	s.view.Store(v)
	if v.kind == storageDamaged && old.kind != storageDamaged {
		s.log.Error("the storage is damaged; nothing is served", zap.String("detail", v.detail))
	}
	seen := s.barrier.current()
	if seen == nil {
		return
	}
	if reason := s.mustDrop(v); reason != "" {
		s.barrier.drop()
		s.log.Warn("sealed", zap.String("reason", reason))
	}
}

// samestore keeps a running server from adopting another store: its clients,
// caches and audit speak of the one it started with.
func samestore(uuid string, v *view) *view {
	switch {
	case v.kind == storageEmpty:
		return damaged("the records of this store (" + uuid + ") are gone from the storage; restore them, or restart the server to begin a new store")
	case v.kind == storagePresent && v.config.UUID != uuid:
		return damaged("the storage now holds another store (" + v.config.UUID + ", not " + uuid + "); restart the server to serve it")
	}
	return v
}

// mustDrop returns why the keys in memory have to go, or "" after it has
// brought the keyring and the versions up to date.
func (s *Store) mustDrop(v *view) (reason string) {
	if v.kind != storagePresent {
		return "the records of the store are not there"
	}
	var seen, revised *opened
	err := s.barrier.use(func(o *opened) (err error) {
		seen = o
		revised, err = o.update(v)
		return err
	})
	if err != nil {
		return err.Error()
	}
	if revised != seen {
		s.barrier.revise(seen, revised)
	}
	return ""
}

// update returns the keys as v has them: with the versions, the keyring and the
// root key that other servers have written since. An error is the reason why
// the keys have to be dropped.
func (o *opened) update(v *view) (*opened, error) {
	if o.intentVersion == v.intentVersion && o.keyringVersion == v.keyringVersion && v.intent.unsealedUnder(o.uuid, o.root) {
		return o, nil
	}
	next := *o
	if !v.intent.unsealedUnder(o.uuid, o.root) {
		followed, err := o.followRoot(v)
		if err != nil || !v.intent.unsealedUnder(o.uuid, followed.root) {
			return nil, errors.New("the store was sealed")
		}
		next = *followed
	} else if o.keyringVersion != v.keyringVersion {
		ring, err := openKeyring(o.uuid, o.root, v.keyring)
		if err != nil {
			return nil, err
		}
		next.ring = ring
	}
	if v.intent.Epoch != o.epoch {
		return nil, errors.New("the store was sealed and unsealed elsewhere since")
	}
	next.intentVersion, next.keyringVersion = v.intentVersion, v.keyringVersion
	return &next, nil
}
