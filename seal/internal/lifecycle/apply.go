package lifecycle

import (
	"bytes"
	"errors"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
)

// applySnapshot makes s the current snapshot, and drops keys that it no longer
// permits. The caller has the turn.
func (m *machine) applySnapshot(s *snapshot) {
	old := m.snapshot.Load()
	s = m.reconcile(old, s)
	m.snapshot.Store(s)
	if s.state == storageDamaged && old.state != storageDamaged {
		m.log.Error("the storage is damaged; nothing is served", zap.String("detail", s.detail))
	}
	if m.barrier.IsOpen() {
		if err := m.updateKeys(s); err != nil {
			m.missedHandover.Store(errors.Is(err, errNotHandedOver))
			var lower *LowerModeError
			if errors.As(err, &lower) {
				m.mode.refuse(lower, false)
			}
			m.barrier.Drop()
			m.rekeys.forgetRekeyShares()
			m.scrubbing.forgetKeysSoon()
			m.log.Warn("sealed", zap.String("reason", err.Error()))
		}
	}
	m.trust.check(m.snapshot.Load())
	m.mode.check(m.snapshot.Load())
	m.noteState()
}

// reconcile returns s as this server may accept it, given the last snapshot.
func (m *machine) reconcile(old, s *snapshot) *snapshot {
	if old.config == nil {
		return s
	}
	s = sameStore(old.config.UUID, s)
	if s.config == nil {
		s.config = old.config // remembers which store this server serves
		return s
	}
	if old.state == storagePresent && old.intent.Seal != s.intent.Seal {
		m.ended.add(old.intent.Seal)
	}
	if m.ended.ids[s.intent.Seal] {
		m.log.Warn("an older seal intent has been put back in the storage; it counts as sealed")
		s.intent = sealedIntent("")
	}
	return s
}

// sameStore keeps a running server from serving another store: its clients,
// caches and audit log refer to the one it started with.
func sameStore(uuid string, s *snapshot) *snapshot {
	switch {
	case s.state == storageEmpty:
		return damaged("the records of this store (" + uuid + ") are gone from the storage; restore them, or restart the server to begin a new store")
	case s.state == storagePresent && s.config.UUID != uuid:
		return damaged("the storage now holds another store (" + s.config.UUID + ", not " + uuid + "); restart the server to serve it")
	}
	return s
}

// updateKeys brings the keys in memory up to date with s, or returns why they
// have to be dropped.
func (m *machine) updateKeys(s *snapshot) (reason error) {
	seen, revised, err := m.keysAsOf(s)
	if err != nil {
		return err
	}
	if revised != seen {
		m.pin = revised.RootPin()
		m.barrier.Revise(seen, revised)
		m.servers.noteKeys()
	}
	return nil
}

// keysAsOf returns the keys in memory, and what they have to become under s. An
// error is the reason why they have to be dropped.
func (m *machine) keysAsOf(s *snapshot) (seen, revised *barrier.Keys, err error) {
	if s.state != storagePresent {
		return nil, nil, errors.New("the records of the store are gone")
	}
	err = m.barrier.Use(func(k *barrier.Keys) (err error) {
		seen = k
		if revised, err = revise(k, m.servers.self.ID, s); err != nil {
			return err
		}
		return m.mode.permits(revised.UUID, revised.Root, s)
	})
	if err != nil && revised != nil {
		m.barrier.Discard(revised)
	}
	return seen, revised, err
}

// revise returns k with the versions, the keyring and the root key that other
// servers have written since. self is the id of this server.
func revise(k *barrier.Keys, self string, s *snapshot) (*barrier.Keys, error) {
	genuine := s.intent.unsealedUnder(k.UUID, k.Root)
	if genuine && k.IntentVersion == s.intentVersion && k.KeyringVersion == s.keyringVersion {
		return k, nil
	}
	next := *k
	if !genuine {
		handedOver, err := acceptHandover(k, self, s)
		switch {
		case s.intent.Sealed && err != nil:
			return nil, errors.New("the store was sealed")
		case errors.Is(err, errNotHandedOver):
			return nil, err
		case err != nil:
			return nil, errors.New("the store is unsealed under another root key: it was replaced while this server was away, or the record is forged")
		}
		if !s.intent.unsealedUnder(k.UUID, handedOver.Root) {
			return nil, errors.New("the store was sealed")
		}
		next = *handedOver
	} else if k.KeyringVersion != s.keyringVersion {
		ring, err := barrier.OpenKeyring(k.UUID, k.Root, s.keyring)
		if err != nil {
			return nil, err
		}
		next.Ring = ring
	}
	if !next.Ring.Follows(k.Ring) {
		return nil, errOtherIncarnation
	}
	if s.intent.Seal != k.LastSeal {
		return nil, errors.New("the store was sealed and unsealed elsewhere since")
	}
	next.IntentVersion, next.KeyringVersion = s.intentVersion, s.keyringVersion
	return &next, nil
}

// errOtherIncarnation: the keyring is genuine, but none that followed that of this
// server.
var errOtherIncarnation = errors.New("the keyring in the storage is of a backup, or from before or after a restore: the store was restored while this server was running, " +
	"a server of an earlier release has written the keyring, or somebody has put an old one back")

// checkPin refuses keys whose root key is not the one that this server has
// known since it first unsealed the store: if an attacker who can write to the
// storage puts another store in its place, under the same uuid, it must not be
// served.
func (m *machine) checkPin(k *barrier.Keys) error {
	if m.pin == nil || bytes.Equal(m.pin, k.RootPin()) {
		return nil
	}
	return ErrOtherRoot
}
