package seal

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"secretstore/store"
)

// Recover opens the store of a storage for reading, offline: no intent is
// looked at or written, nothing is followed, nothing runs in the background.
// It is for the holder of the unseal key, or of enough shares of it, when no
// server can be had. Only Get, List and Close are of use on what it returns.
// ErrBadKey, ErrWrongKey, ErrUninitialized, ErrDamaged, ErrCorrupt.
func Recover(ctx context.Context, backend store.Backend, shares []string) (*Store, error) {
	s := &Store{
		id: newNonce(), backend: backend, keeper: newInStorage(backend, newBootstrapKey), log: zap.NewNop(), maxSize: maxSize,
		turn: make(chan struct{}, 1), wake: make(chan struct{}, 1), writers: newKeyQueue(), listers: newKeyQueue(), chores: newChores(), cancel: func() {}, offline: true,
		watchers: newWatchers(), tracker: newTracker(),
	}
	v, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	s.view.Store(v)
	if err := s.ready(); err != nil {
		if v.detail != "" {
			err = fmt.Errorf("%w: %s", err, v.detail)
		}
		return nil, err
	}
	defer s.unsealing.reset()
	for _, share := range shares {
		key, err := s.unsealing.add(&v.config.holding, v.config.UUID, share)
		if err != nil {
			return nil, err
		}
		if key == nil {
			continue
		}
		defer key.Clear()
		o, err := openKeys(v, key)
		if err != nil {
			return nil, err
		}
		s.barrier.install(o, s.barrier.dropCount())
		return s, nil
	}
	return nil, fmt.Errorf("%w: %d of %d shares were given", ErrBadKey, s.unsealing.progressOf(v.config.KeyCheck), v.config.Threshold)
}
