package lifecycle

import (
	"context"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// A new root key must reach the other unsealed servers, which know only the
// last one: the handover record has it for them, encrypted under the last root
// key, for handoverLife. Anyone who has the last root key and reads the storage
// in that time learns the new one; they could read everything a moment before,
// and the documentation says so. A server that was away for longer is sealed
// when it returns. On an exclusive backend there is no other server, and no
// handover.

// handoverLife is how long the record stays.
const handoverLife = time.Minute

func handoverPlace(store string) envelope.Place {
	return envelope.Place{Store: store, Kind: envelope.KindHandover, Path: barrier.KeyHandover}
}

// handoverOps returns the operation that leaves the next root key for the other
// servers, if there can be any.
func (m *Rekeys) handoverOps(s *snapshot, k *barrier.Keys, next *envelope.Key) []store.Op {
	if m.barrier.Exclusive() {
		return nil
	}
	plain := next.Bytes()
	defer clear(plain)
	data := envelope.Seal(k.Root, handoverPlace(k.UUID), envelope.Header{Kind: envelope.KindHandover, ID: envelope.NewID()}, plain)
	if s.handover == nil {
		return []store.Op{store.Create(barrier.KeyHandover, data)}
	}
	return []store.Op{store.Set(barrier.KeyHandover, data, s.handoverVersion)}
}

// replaceRoot makes a new root key and commits what rootOps returns for it,
// together with the keyring (with a new term) and the intent under it. The
// caller has the turn.
func (m *Rekeys) replaceRoot(ctx context.Context, s *snapshot, rootOps func(root *envelope.Key) ([]store.Op, error)) error {
	var seen, fresh *barrier.Keys
	var ops []store.Op
	err := m.barrier.Use(func(k *barrier.Keys) error {
		ring, err := k.Ring.WithNewTerm()
		if err != nil {
			return err
		}
		next := *k
		next.Root, next.Ring = envelope.NewKey(), ring
		seen, fresh = k, &next
		keyring, err := ring.Seal(next.Root, k.UUID)
		if err != nil {
			return err
		}
		if ops, err = rootOps(next.Root); err != nil {
			return err
		}
		ops = append(ops, m.handoverOps(s, k, next.Root)...)
		ops = append(ops,
			store.Set(barrier.KeyKeyring, keyring, k.KeyringVersion),
			store.Set(barrier.KeyIntent, unsealedIntent(k.LastSeal, k.UUID, next.Root).encode(), k.IntentVersion))
		return nil
	})
	if err != nil {
		return err
	}
	versions, err := m.backend.Apply(ctx, ops...)
	if err != nil {
		return err
	}
	fresh.KeyringVersion, fresh.IntentVersion = versions[len(versions)-2], versions[len(versions)-1]
	m.pin = fresh.RootPin()
	m.barrier.Revise(seen, fresh)
	m.keyringChanged()
	return nil
}

// acceptHandover returns the keys under the root key that was handed over, or
// an error if there is none for this server.
func acceptHandover(k *barrier.Keys, s *snapshot) (*barrier.Keys, error) {
	if s.handover == nil {
		return nil, barrier.ErrSealed
	}
	plain, _, err := envelope.Open(k.Root, handoverPlace(k.UUID), s.handover)
	if err != nil {
		return nil, barrier.Corrupt(barrier.KeyHandover, err)
	}
	defer clear(plain)
	next := *k
	if next.Root, err = envelope.KeyFromBytes(plain); err != nil {
		return nil, barrier.Corrupt(barrier.KeyHandover, err)
	}
	if next.Ring, err = barrier.OpenKeyring(k.UUID, next.Root, s.keyring); err != nil {
		return nil, err
	}
	return &next, nil
}

// handoverTimer remembers when this server first saw a handover record.
type handoverTimer struct {
	version store.Version
	since   time.Time
}

// endHandover removes the record once it is old enough. The caller has the
// turn; a failure is tried again with the next snapshot.
func (m *machine) endHandover(ctx context.Context) {
	s := m.snapshot.Load()
	if s.handover == nil {
		m.handover = handoverTimer{}
		return
	}
	if m.handover.since.IsZero() || m.handover.version != s.handoverVersion {
		m.handover = handoverTimer{version: s.handoverVersion, since: time.Now()}
	}
	if time.Since(m.handover.since) < handoverLife {
		return
	}
	if _, err := m.backend.Apply(ctx, store.Delete(barrier.KeyHandover, s.handoverVersion)); err != nil {
		m.log.Warn("could not remove the handover record; will keep retrying", zap.Error(err))
	}
}
