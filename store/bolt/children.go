package bolt

import (
	"bytes"
	"context"
	"fmt"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
	"secretstore/store/internal/local"
)

// checkEvery is how many names are listed between two checks of the context.
const checkEvery = 1024

// Children implements store.Backend. The answer is never stale, and costs one
// seek for each name that has children, however many those are.
func (b *Backend) Children(ctx context.Context, key store.Key, _ store.Consistency) (list store.Listing, err error) {
	if err := b.ready(ctx); err != nil {
		return store.Listing{}, err
	}
	prefix := []byte(nil)
	if key != "" {
		if err := store.ValidKey(key); err != nil {
			return store.Listing{}, err
		}
		prefix = []byte(key + "/")
	}
	changed := b.listings.flag(key) // before the names are read
	tx, err := b.begin()
	if err != nil {
		return store.Listing{}, err
	}
	defer tx.end(&err)
	list, err = children(ctx, tx.records(), prefix)
	if err != nil {
		return store.Listing{}, fmt.Errorf("%s: children of %s: %w", b.path, key, err)
	}
	list.Changed = changed
	return list, nil
}

// children lists the components that follow prefix. In the order of the keys `a`,
// `a-b`, `a/x` there are others between a record and what is below it, so a name
// that has both occurs twice: it is listed at its record. Names that no key can
// have, which another program has written, are only counted.
func children(ctx context.Context, records *bbolt.Bucket, prefix []byte) (store.Listing, error) {
	list := store.Listing{Names: []string{}}
	cursor := records.Cursor()
	seek := append([]byte(nil), prefix...)
	key, _ := cursor.Seek(seek)
	for steps := 1; key != nil && bytes.HasPrefix(key, prefix); steps++ {
		if steps%checkEvery == 0 {
			if err := local.Expired(ctx); err != nil {
				return store.Listing{}, err
			}
		}
		name, _, deeper := bytes.Cut(key[len(prefix):], []byte{'/'})
		record := key[:len(prefix)+len(name)]
		switch {
		case deeper && records.Get(record) != nil: // listed at its record
		case store.ValidKey(string(name)) != nil:
			list.Foreign++
		default:
			list.Names = append(list.Names, string(name))
		}
		if !deeper {
			key, _ = cursor.Next()
			continue
		}
		// '0' follows '/': past everything below name.
		seek = append(append(seek[:0], record...), '/'+1)
		key, _ = cursor.Seek(seek)
	}
	return list, nil
}
