package memory

import (
	"context"
	"errors"
	"maps"
	"slices"

	"secretstore/store"
	"secretstore/store/internal/local"
)

// Snapshot implements store.Snapshotter.
func (b *Backend) Snapshot(ctx context.Context, s store.Snapshot, emit func(store.Key, []byte) error) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	all, pace := b.records.all(), local.NewPace(s.Rate)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !s.Covers(key) {
			continue
		}
		if err := errors.Join(b.ready(ctx), pace.Wait(ctx, 1)); err != nil {
			return err
		}
		if err := emit(key, all[key].data); err != nil {
			return err
		}
	}
	return nil
}

func (r *records) all() map[store.Key]record {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return maps.Clone(r.byKey)
}
