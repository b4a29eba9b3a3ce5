package seal

import (
	"context"

	"secretstore/store"
)

// folderKeys returns the keys of the folders below keySecrets or keyDeleted,
// from the storage and not from what lists remember.
func (s *Store) folderKeys(ctx context.Context, root store.Key, c store.Consistency) ([]store.Key, error) {
	buckets, err := s.children(ctx, root, c)
	if err != nil {
		return nil, err
	}
	var all []store.Key
	for _, bucket := range buckets.Names {
		ids, err := s.children(ctx, root+"/"+bucket, c)
		if err != nil {
			return nil, err
		}
		for _, id := range ids.Names {
			all = append(all, root+"/"+bucket+"/"+id)
		}
	}
	return all, nil
}
