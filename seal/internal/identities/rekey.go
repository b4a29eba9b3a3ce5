package identities

import (
	"context"
	"errors"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Renew returns what writes the head again under the next root key. It belongs in
// the transaction that replaces the root key. There is nothing to write without a
// head, or if the one in the storage is not genuine; if this server has loaded the
// records, the head is the one that it knows.
func Renew(ctx context.Context, s *Identities) (func(k *barrier.Keys, next *envelope.Key) []store.Op, error) {
	node, err := s.backend.Get(ctx, barrier.KeyIAM, store.Latest)
	missing := errors.Is(err, store.ErrNotFound)
	if err != nil && !missing {
		return nil, barrier.ReadError(barrier.KeyIAM, err)
	}
	known := s.current()
	return func(k *barrier.Keys, next *envelope.Key) []store.Op {
		h, err := openHead(node.Data, k.UUID, k.Root)
		if known != nil && known.head.seq > 0 && (err != nil || h.seq <= known.head.seq) {
			h, err = *known.head, nil
		}
		if err != nil {
			return nil
		}
		data := h.encode(k.UUID, next)
		if missing {
			return []store.Op{store.Create(barrier.KeyIAM, data)}
		}
		return []store.Op{store.Set(barrier.KeyIAM, data, node.Version)}
	}, nil
}
