package lifecycle

import (
	"context"
	"fmt"
)

// Recover installs the keys of an offline barrier with an unseal key, or with
// enough shares of one. The seal intent is neither read nor written. ErrBadKey,
// ErrWrongKey, ErrUninitialized, ErrDamaged, ErrCorrupt.
func Recover(ctx context.Context, l *Lifecycle, shares []string) error {
	s, err := l.snapshots.takeSnapshot(ctx)
	if err != nil {
		return err
	}
	l.snapshot.Store(s)
	if err := l.ready(); err != nil {
		if s.detail != "" {
			err = fmt.Errorf("%w: %s", err, s.detail)
		}
		return err
	}
	defer l.unsealing.Reset()
	for _, share := range shares {
		key, err := l.unsealing.Add(&s.config.Holding, s.config.UUID, []byte(share))
		if err != nil {
			return err
		}
		if key == nil {
			continue
		}
		defer key.Clear()
		k, err := openKeys(s, key)
		if err != nil {
			return err
		}
		l.barrier.Install(k, l.barrier.DropCount())
		return nil
	}
	return fmt.Errorf("%w: %d of %d shares were given", ErrBadKey, l.unsealing.Progress(s.config.KeyCheck), s.config.Threshold)
}
