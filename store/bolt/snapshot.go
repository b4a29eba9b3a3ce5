package bolt

import (
	"bytes"
	"context"
	"fmt"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
	"secretstore/store/internal/local"
)

// Snapshot implements store.Snapshotter, with one read transaction. Until it
// returns, the file keeps what is overwritten meanwhile, and grows by that much.
func (b *Backend) Snapshot(ctx context.Context, s store.Snapshot, emit func(store.Key, []byte) error) (err error) {
	if err := b.ready(ctx); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	tx, err := b.begin()
	if err != nil {
		return err
	}
	defer tx.end(&err)
	pace := local.NewPace(s.Rate)
	for _, below := range s.Below {
		if err := b.emitBelow(ctx, tx.records().Cursor(), below, s.Except, pace, emit); err != nil {
			return err
		}
	}
	return nil
}

// emitBelow emits the records at and below a key. In the order of the file,
// others can be between these: `a`, `a-b`, `a/x`.
func (b *Backend) emitBelow(ctx context.Context, c *bbolt.Cursor, below store.Key, except []store.Key, pace local.Pace, emit func(store.Key, []byte) error) error {
	for key, value := c.Seek([]byte(below)); key != nil && bytes.HasPrefix(key, []byte(below)); key, value = c.Next() {
		name := string(key)
		if one := (store.Snapshot{Below: []store.Key{below}, Except: except}); !one.Covers(name) {
			if err := local.Expired(ctx); err != nil {
				return err
			}
			continue
		}
		if err := pace.Wait(ctx, 1); err != nil {
			return err
		}
		data, _, err := split(value)
		if err != nil {
			return fmt.Errorf("%s: record %s: %w", b.path, name, err)
		}
		if err := emit(name, data); err != nil {
			return err
		}
	}
	return nil
}
