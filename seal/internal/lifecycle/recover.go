package lifecycle

import (
	"context"
	"fmt"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/holders"
	"secretstore/store"
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

// ForOthers returns the records of the holders and of the root key as a rekey of an
// offline store would write them: shares of another unseal key open the same root
// key. It writes nothing. ErrBadShares, *pgp.KeyError.
func ForOthers(l *Lifecycle, p InitParams) (map[store.Key][]byte, InitInfo, error) {
	keys, err := p.parse()
	if err != nil {
		return nil, InitInfo{}, err
	}
	s := l.snapshot.Load()
	unsealKey, held, err := holders.New(keys, p.Threshold, s.config.UUID)
	if err != nil {
		return nil, InitInfo{}, err
	}
	defer unsealKey.Clear()
	records := make(map[store.Key][]byte)
	err = l.barrier.Use(func(k *barrier.Keys) (err error) {
		records[barrier.KeyRoot] = sealRoot(unsealKey, k.UUID, k.Root)
		records[barrier.KeyConfig], err = s.config.Rekeyed(held).Encode(k.Root)
		return err
	})
	return records, infoOf(held), err
}
