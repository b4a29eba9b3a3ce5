package barrier

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"secretstore/store"
)

// Children lists the keys directly below key. ErrCorrupt if only this listing
// cannot be read.
func (b *Barrier) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	list, err := b.backend.Children(ctx, key, c)
	if errors.Is(err, store.ErrUnusable) {
		return store.Listing{}, Corrupt(key, err)
	}
	if err != nil {
		return store.Listing{}, fmt.Errorf("list %s: %w", key, err)
	}
	return list, nil
}

// FolderKeys returns the keys of the folders below KeySecrets or KeyDeleted,
// from the storage and not from what lists remember, and what it has skipped.
func (b *Barrier) FolderKeys(ctx context.Context, root store.Key, c store.Consistency) ([]store.Key, Finding, error) {
	var found Finding
	buckets, err := b.Children(ctx, root, c)
	if err != nil {
		return nil, found, err
	}
	found.Foreign += buckets.Foreign
	var all []store.Key
	for _, bucket := range buckets.Names {
		if !IsBucket(bucket) {
			found.Foreign++
			continue
		}
		ids, err := b.Children(ctx, root+"/"+bucket, c)
		if found.Skip(err) {
			continue
		}
		if err != nil {
			return nil, found, err
		}
		found.Foreign += ids.Foreign
		for _, id := range ids.Names {
			if !isFolderID(id) || id[:2] != bucket {
				found.Foreign++
				continue
			}
			all = append(all, root+"/"+bucket+"/"+id)
		}
	}
	return all, found, nil
}

// removeBatch is how many records one transaction removes.
const removeBatch = 64

// RemoveTree deletes a record and those directly below it. It is not for
// secrets, whose deletes change the delete generation.
func (b *Barrier) RemoveTree(ctx context.Context, parent store.Key) error {
	below, err := b.Children(ctx, parent, store.Latest)
	if err != nil {
		return err
	}
	for names := range slices.Chunk(below.Names, removeBatch) {
		var ops []store.Op
		for _, name := range names {
			node, err := b.backend.Get(ctx, parent+"/"+name, store.Latest)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return ReadError(parent+"/"+name, err)
			}
			ops = append(ops, store.Delete(parent+"/"+name, node.Version))
		}
		if len(ops) == 0 {
			continue
		}
		if _, err := b.backend.Apply(ctx, ops...); err != nil {
			return err
		}
	}
	return b.RemoveRecord(ctx, parent)
}

// RemoveRecord deletes a record at whatever version it has. It is not for
// secrets, either.
func (b *Barrier) RemoveRecord(ctx context.Context, key store.Key) error {
	node, err := b.backend.Get(ctx, key, store.Cached)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = b.backend.Apply(ctx, store.Delete(key, node.Version))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
