package memory

import (
	"context"
	"maps"
	"slices"

	"secretstore/store"
)

// Snapshot implements store.Snapshotter.
func (b *Backend) Snapshot(ctx context.Context, s store.Snapshot, emit func(store.Key, []byte) error) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	all := b.records.all()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !s.Covers(key) {
			continue
		}
		if err := b.ready(ctx); err != nil {
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
