package lifecycle

import (
	"context"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/holders"
)

// Holders describes the present holders, without I/O; none before Init.
func (m *machine) Holders() []holders.Holder { return m.snapshot.Load().config.Describe() }

// Report reads the life-cycle records and describes the holders.
// ErrUninitialized, ErrDamaged, store.ErrUnavailable.
func Report(ctx context.Context, l *Lifecycle) ([]holders.Holder, Status, error) {
	s, err := l.snapshots.takeSnapshot(ctx)
	if err != nil {
		return nil, Status{}, err
	}
	if err := l.ready(); err != nil {
		return nil, Status{}, err
	}
	if s.state != storagePresent {
		return nil, Status{}, barrier.ErrDamaged
	}
	return l.Holders(), Status{Shares: s.config.Shares, Threshold: s.config.Threshold, HoldsBootstrapKey: s.holdsBootstrapKey,
		ConfigWarning: l.trust.trustOf(s).warning()}, nil
}
