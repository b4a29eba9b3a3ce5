package seal

import (
	"bytes"
	"context"
	"errors"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
)

// adopt makes v the view, and drops keys that it no longer permits. It runs in
// turn.
func (s *Store) adopt(v *view) {
	old := s.view.Load()
	v = s.judge(old, v)
	s.view.Store(v)
	if v.kind == storageDamaged && old.kind != storageDamaged {
		s.log.Error("the storage is damaged; nothing is served", zap.String("detail", v.detail))
	}
	if s.barrier.current() == nil {
		return
	}
	if reason := s.updateKeys(v); reason != "" {
		s.barrier.drop()
		s.log.Warn("sealed", zap.String("reason", reason))
	}
}

// judge returns v as this server may take it, after what it has seen before.
func (s *Store) judge(old, v *view) *view {
	if old.config == nil {
		return v
	}
	v = samestore(old.config.UUID, v)
	if v.config == nil {
		v.config = old.config // remembers which store this server serves
		return v
	}
	if old.kind == storagePresent && old.intent.Seal != v.intent.Seal {
		s.ended.add(old.intent.Seal)
	}
	if s.ended.ids[v.intent.Seal] {
		s.log.Warn("an older seal intent has been put back in the storage; it counts as sealed")
		v.intent = sealedIntent("")
	}
	return v
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

// updateKeys brings the keys in memory up to date with v, or returns why they
// have to go.
func (s *Store) updateKeys(v *view) (reason string) {
	seen, revised, err := s.keysAsOf(v)
	if err != nil {
		return err.Error()
	}
	if revised != seen {
		s.pin = revised.rootPin()
		s.barrier.revise(seen, revised)
	}
	return ""
}

// keysAsOf returns the keys in memory and what v makes of them. An error is the
// reason why they have to be dropped.
func (s *Store) keysAsOf(v *view) (seen, revised *opened, err error) {
	if v.kind != storagePresent {
		return nil, nil, errors.New("the records of the store are not there")
	}
	err = s.barrier.use(func(o *opened) (err error) {
		seen = o
		revised, err = o.update(v)
		return err
	})
	return seen, revised, err
}

// update returns the keys with the versions, the keyring and the root key that
// other servers have written since.
func (o *opened) update(v *view) (*opened, error) {
	genuine := v.intent.unsealedUnder(o.uuid, o.root)
	if genuine && o.intentVersion == v.intentVersion && o.keyringVersion == v.keyringVersion {
		return o, nil
	}
	next := *o
	if !genuine {
		followed, err := o.followRoot(v)
		if err != nil && !v.intent.Sealed {
			return nil, errors.New("the store is unsealed under another root key: it was replaced while this server was away, or the record is forged")
		}
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
	if v.intent.Seal != o.seal {
		return nil, errors.New("the store was sealed and unsealed elsewhere since")
	}
	next.intentVersion, next.keyringVersion = v.intentVersion, v.keyringVersion
	return &next, nil
}

// rootPin tells root keys apart without holding one.
func (o *opened) rootPin() []byte {
	return o.root.Derive("secretstore root pin\x00"+o.uuid, envelope.KeySize)
}

// checkPin refuses keys whose root is not the one that this server has known
// since it first opened the store: a writer of the storage who puts a store of
// their own in its place, under the same uuid, must not be served from.
func (s *Store) checkPin(o *opened) error {
	if s.pin == nil || bytes.Equal(s.pin, o.rootPin()) {
		return nil
	}
	return ErrOtherRoot
}

// stableLook is look, and again until two looks agree wherever the first would
// cost the keys or be told as damage: the records are read one by one, and may
// have been replaced together in between.
func (s *Store) stableLook(ctx context.Context) (*view, error) {
	v, err := s.look(ctx)
	for range maxLooks {
		if err != nil || !s.drastic(v) {
			return v, err
		}
		again, err := s.look(ctx)
		if err != nil || again.stamp == v.stamp {
			return again, err
		}
		v = again
	}
	return v, err
}

func (s *Store) drastic(v *view) bool {
	if v.kind == storageDamaged || v.kind == storageEmpty {
		return true
	}
	if s.barrier.current() == nil {
		return false
	}
	_, revised, err := s.keysAsOf(v)
	if err == nil {
		s.barrier.discard(revised)
	}
	return err != nil
}
