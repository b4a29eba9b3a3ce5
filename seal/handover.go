package seal

import (
	"context"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/store"
)

// A new root key must reach the other unsealed servers, which only know the
// last one: it is left for them in the handover record, encrypted under the last
// root key, for handoverLife. Whoever holds the last root key and reads the
// storage in that time learns the new one; they could read everything a moment
// before, and the documentation says so. A server that was away for longer is
// sealed when it returns.

func isAlone(b store.Backend) bool {
	s, ok := b.(store.Exclusive)
	return ok && s.Exclusive()
}

// handoverOps returns the operation that leaves the next root key for the other
// servers, where there can be any.
func (s *Store) handoverOps(v *view, o *opened, next *envelope.Key) []store.Op {
	if s.alone {
		return nil
	}
	plain := next.Bytes()
	defer clear(plain)
	data := envelope.Seal(o.root, handoverPlace(o.uuid), envelope.Header{Kind: envelope.KindHandover, ID: envelope.NewID()}, plain)
	if v.handover == nil {
		return []store.Op{store.Create(keyHandover, data)}
	}
	return []store.Op{store.Set(keyHandover, data, v.handoverVersion)}
}

// handoverLife is how long the record stays.
const handoverLife = time.Minute

func handoverPlace(store string) envelope.Place {
	return envelope.Place{Store: store, Kind: envelope.KindHandover, Path: keyHandover}
}

// replaceRoot commits ops together with a new root key: wrapped with the unseal
// key, the keyring (with a new term) and the intent moved under it.
func (s *Store) replaceRoot(ctx context.Context, v *view, unsealKey *envelope.Key, ops []store.Op) error {
	var fresh *opened
	var seen *opened
	var versions []store.Version
	ops = append([]store.Op(nil), ops...)
	err := s.use(func(o *opened) error {
		seen = o
		ring, err := o.ring.withNewTerm()
		if err != nil {
			return err
		}
		next := *o
		next.root, next.ring = envelope.NewKey(), ring
		fresh = &next
		keyring, err := sealKeyring(next.root, o.uuid, ring)
		if err != nil {
			return err
		}
		ops = append(ops, s.handoverOps(v, o, next.root)...)
		ops = append(ops,
			store.Set(keyRoot, sealRoot(unsealKey, o.uuid, next.root), v.rootVersion),
			store.Set(keyKeyring, keyring, o.keyringVersion),
			store.Set(keyIntent, unsealedIntent(o.seal, o.uuid, next.root).encode(), o.intentVersion))
		return nil
	})
	if err != nil {
		return err
	}
	versions, err = s.backend.Apply(ctx, ops...)
	if err != nil {
		return err
	}
	fresh.keyringVersion, fresh.intentVersion = versions[len(versions)-2], versions[len(versions)-1]
	s.pin = fresh.rootPin()
	s.barrier.revise(seen, fresh)
	s.workOnRotation()
	return nil
}

// followRoot returns the keys under the root key that was handed over, or an
// error if there is none for this server.
func (o *opened) followRoot(v *view) (*opened, error) {
	if v.handover == nil {
		return nil, ErrSealed
	}
	plain, _, err := envelope.Open(o.root, handoverPlace(o.uuid), v.handover)
	if err != nil {
		return nil, corrupt(keyHandover, err)
	}
	defer clear(plain)
	next := *o
	if next.root, err = envelope.KeyFromBytes(plain); err != nil {
		return nil, corrupt(keyHandover, err)
	}
	if next.ring, err = openKeyring(o.uuid, next.root, v.keyring); err != nil {
		return nil, err
	}
	return &next, nil
}

// handoverWatch remembers when this server first saw a handover record.
type handoverWatch struct {
	version store.Version
	since   time.Time
}

// endHandover removes the record once it is old enough. It runs in turn; what
// fails is tried again at the next look.
func (s *Store) endHandover(ctx context.Context) {
	v := s.view.Load()
	if v.handover == nil {
		s.handover = handoverWatch{}
		return
	}
	if s.handover.since.IsZero() || s.handover.version != v.handoverVersion {
		s.handover = handoverWatch{version: v.handoverVersion, since: time.Now()}
	}
	if time.Since(s.handover.since) < handoverLife {
		return
	}
	if _, err := s.backend.Apply(ctx, store.Delete(keyHandover, v.handoverVersion)); err != nil {
		s.log.Warn("the handover record stays for now", zap.Error(err))
	}
}
