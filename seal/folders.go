package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"secretstore/store"
)

// folder is one that holds secrets, or has held some.
type folder struct {
	id     string
	prefix string // what the full names of its secrets begin with: "a/b/"; "" of the root
}

func (f folder) key() store.Key { return folderKeyFor(f.id) }

// folderSet is all folders as they were at one moment. It is immutable.
type folderSet struct {
	root    store.Listing
	buckets []folderBucket // of root's names, in their order
	folders []folder       // of all buckets, sorted by prefix
	// changed is that of the root's listing and of each bucket's; empty if one of
	// them does not tell.
	changed []*atomic.Bool
}

// folderBucket is the folders of one bucket.
type folderBucket struct {
	listing store.Listing
	folders []folder
	whole   bool // no folder of the listing was found to be gone
}

// current reports, without I/O, that the storage would list the same folders.
func (s *folderSet) current() bool {
	return s != nil && len(s.changed) > 0 && !slices.ContainsFunc(s.changed, (*atomic.Bool).Load)
}

// tellers returns what tells when a set is not current any more.
func (s *folderSet) tellers() []*atomic.Bool {
	all := append(make([]*atomic.Bool, 0, 1+len(s.buckets)), s.root.Changed)
	for i := range s.buckets {
		all = append(all, s.buckets[i].listing.Changed)
	}
	if slices.Contains(all, nil) {
		return nil
	}
	return all
}

// below returns the folders at and below one, of which prefix is the prefix.
func (s *folderSet) below(prefix string) []folder {
	from, _ := slices.BinarySearchFunc(s.folders, prefix, comparePrefix)
	n, _ := slices.BinarySearchFunc(s.folders[from:], prefix, func(f folder, prefix string) int {
		if strings.HasPrefix(f.prefix, prefix) {
			return -1
		}
		return 1
	})
	return s.folders[from : from+n]
}

func comparePrefix(f folder, prefix string) int { return strings.Compare(f.prefix, prefix) }

// folders returns all folders: from memory if the storage says that nothing has
// changed.
func (s *Store) folders(ctx context.Context, c store.Consistency) (*folderSet, error) {
	known, err := s.knownFolders()
	if err != nil || c == store.Cached && known.current() {
		return known, err
	}
	if c == store.Cached {
		// One reads, and the others have what it read.
		leave, err := s.listers.enter(ctx, keySecrets)
		if err != nil {
			return nil, err
		}
		defer leave()
		if known, err = s.knownFolders(); err != nil || known.current() {
			return known, err
		}
	}
	set, err := s.readFolders(ctx, c, known)
	if err != nil {
		return nil, err
	}
	return set, s.use(func(o *opened) error { o.names.folders.putAll(set); return nil })
}

func (s *Store) knownFolders() (set *folderSet, err error) {
	err = s.use(func(o *opened) error { set = o.names.folders.all(); return nil })
	return set, err
}

// readFolders reads what of the buckets may have changed since known, which may
// be nil.
func (s *Store) readFolders(ctx context.Context, c store.Consistency, known *folderSet) (*folderSet, error) {
	root, err := s.children(ctx, keySecrets, c)
	if err != nil {
		return nil, err
	}
	before := make(map[string]*folderBucket)
	if known != nil {
		for i, name := range known.root.Names {
			before[name] = &known.buckets[i]
		}
	}
	set := &folderSet{root: root, buckets: make([]folderBucket, len(root.Names))}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(listReaders)
	for i, name := range root.Names {
		was := before[name]
		if c == store.Cached && was != nil && was.listing.Current() {
			set.buckets[i] = *was
			continue
		}
		group.Go(func() (err error) {
			set.buckets[i], err = s.readBucket(groupCtx, keySecrets+"/"+name, c, was)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	n := 0
	for i := range set.buckets {
		n += len(set.buckets[i].folders)
	}
	set.folders = make([]folder, 0, n)
	for i := range set.buckets {
		set.folders = append(set.folders, set.buckets[i].folders...)
	}
	slices.SortFunc(set.folders, func(a, b folder) int { return strings.Compare(a.prefix, b.prefix) })
	set.changed = set.tellers()
	return set, nil
}

func (s *Store) readBucket(ctx context.Context, key store.Key, c store.Consistency, was *folderBucket) (folderBucket, error) {
	listing, err := s.children(ctx, key, c)
	if err != nil {
		return folderBucket{}, err
	}
	if was != nil && was.whole && slices.Equal(was.listing.Names, listing.Names) {
		return folderBucket{listing, was.folders, true}, nil
	}
	b := folderBucket{listing, make([]folder, 0, len(listing.Names)), true}
	for _, id := range listing.Names {
		path, err := s.folderPath(ctx, key+"/"+id, id, c)
		if errors.Is(err, store.ErrNotFound) {
			b.whole = false // removed meanwhile
			continue
		}
		if err != nil {
			return folderBucket{}, err
		}
		b.folders = append(b.folders, folder{id, prefixOf(path)})
	}
	return b, nil
}

// prefixOf returns what the full names in a folder begin with. "ab" is not below
// "a", and its names do not begin with "a/".
func prefixOf(path string) string {
	if path == "" {
		return ""
	}
	return path + "/"
}

func (s *Store) children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	list, err := s.backend.Children(ctx, key, c)
	if err != nil {
		return store.Listing{}, fmt.Errorf("list %s: %w", key, err)
	}
	return list, nil
}

// folderPath returns the path of a folder, from memory where it is known: an id
// belongs to one path for ever. A folder without a record and without secrets
// is store.ErrNotFound; one that has lost its record, or stands in a place that
// is not its own, is ErrCorrupt.
func (s *Store) folderPath(ctx context.Context, key store.Key, id string, c store.Consistency) (string, error) {
	if len(id) != 2*folderIDSize || folderKeyFor(id) != key {
		return "", corrupt(key, errBadName)
	}
	var path string
	known := false
	err := s.use(func(o *opened) error {
		path, known = o.names.folders.get(id)
		return nil
	})
	if err != nil || known {
		return path, err
	}
	node, err := s.backend.Get(ctx, key, c)
	for look := 0; errors.Is(err, store.ErrNotFound); look++ {
		left, listErr := s.backend.Children(ctx, key, store.Latest)
		switch {
		case listErr != nil:
			return "", fmt.Errorf("list %s: %w", key, listErr)
		case len(left.Names) == 0:
			return "", store.ErrNotFound
		case look == maxLooks:
			return "", corrupt(key, store.ErrNotFound)
		}
		// A folder that was removed may have been made again between the two.
		node, err = s.backend.Get(ctx, key, store.Latest)
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return path, s.use(func(o *opened) (err error) {
		if path, err = o.names.openFolder(id, node.Data); err != nil {
			return corrupt(key, err)
		}
		o.names.folders.put(id, path)
		return nil
	})
}
