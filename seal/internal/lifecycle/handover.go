package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"secretstore/internal/scrub"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/handover"
	"secretstore/store"
)

// A new root key must reach the other unsealed servers: the handover record has it
// for them for handoverLife, encrypted to keys that exist only in their memory. A
// server that is not among the recipients seals: it was unsealed, or connected
// again, while the root key was replaced, or was left out on purpose. On an
// exclusive backend there is no other server, and no handover.

// handoverLife is how long the record stays.
const handoverLife = time.Minute

// handoverOps returns the operation that leaves the next root key for the other
// servers, if there can be any. Those that are not among the recipients learn from
// it that the new root key is genuine.
func (m *Rekeys) handoverOps(s *snapshot, k *barrier.Keys, next *envelope.Key, to []handover.Recipient) ([]store.Op, error) {
	if m.servers.announcer() == nil {
		return nil, nil
	}
	var data []byte
	var err error
	scrub.Do(func() { data, err = handover.Seal(k.UUID, k.Root, next, to) })
	if err != nil {
		return nil, err
	}
	if s.handover == nil {
		return []store.Op{store.Create(barrier.KeyHandover, data)}, nil
	}
	return []store.Op{store.Set(barrier.KeyHandover, data, s.handoverVersion)}, nil
}

// replaceRoot makes a new root key and commits what rootOps returns for it,
// together with the keyring (with a new term), and the intent and other records
// under it. The caller has the turn.
func (m *Rekeys) replaceRoot(ctx context.Context, s *snapshot, to []handover.Recipient, rootOps func(root *envelope.Key) ([]store.Op, error)) error {
	for range barrier.MaxAttempts {
		err := m.replaceRootOnce(ctx, s, to, rootOps)
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Key != barrier.KeyIAM {
			return err
		}
		// The identities were changed at the same time.
	}
	return fmt.Errorf("the identities kept changing: %w", store.ErrUnavailable)
}

func (m *Rekeys) replaceRootOnce(ctx context.Context, s *snapshot, to []handover.Recipient, rootOps func(root *envelope.Key) ([]store.Op, error)) error {
	renew, err := m.renewRecords(ctx)
	if err != nil {
		return err
	}
	var seen, fresh *barrier.Keys
	var ops []store.Op
	err = m.barrier.Use(func(k *barrier.Keys) error {
		ring, err := k.Ring.WithNewTerm()
		if err != nil {
			return err
		}
		next := *k
		next.Root, next.Ring, next.Handover = barrier.NewKey(), ring, handover.NewKey()
		seen, fresh = k, &next
		keyring, err := ring.Seal(next.Root, k.UUID)
		if err != nil {
			return err
		}
		if ops, err = rootOps(next.Root); err != nil {
			return err
		}
		left, err := m.handoverOps(s, k, next.Root, to)
		if err != nil {
			return err
		}
		ops = append(ops, left...)
		ops = append(ops, s.modeOps(k.UUID, k.Root, next.Root)...)
		ops = append(ops, renew(k, next.Root)...)
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
	m.servers.noteKeys()
	m.keyringChanged()
	return nil
}

// errNotHandedOver: there is a genuine new root key, but not for this server.
var errNotHandedOver = errors.New("the root key was replaced, and the new one was not handed over to this server: it was unsealed or " +
	"connected again at that time, or was left out; restart it, and unseal it with the new unseal key")

// acceptHandover returns the keys under the root key that was handed over to the
// server self, or an error if there is none. errNotHandedOver.
func acceptHandover(k *barrier.Keys, self string, s *snapshot) (*barrier.Keys, error) {
	if s.handover == nil {
		return nil, barrier.ErrSealed
	}
	var root *envelope.Key
	var err error
	scrub.Do(func() { root, err = handover.Open(k.UUID, self, k.Root, k.Handover, s.handover) })
	if errors.Is(err, handover.ErrNotForUs) {
		return nil, errNotHandedOver
	}
	if err != nil {
		return nil, barrier.Corrupt(barrier.KeyHandover, err)
	}
	next := *k
	next.Root = root
	if next.Ring, err = barrier.OpenKeyring(k.UUID, next.Root, s.keyring); err != nil {
		return nil, err
	}
	next.Handover = handover.NewKey()
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
