package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/store"
)

// listReaders is how many folders are read at once.
const listReaders = 16

// List returns the names of all secrets below a folder (the zero Path is the
// root), however deep, relative to it. An unknown folder is an empty list.
// ErrSealed, ErrCorrupt, store.ErrUnavailable.
func (s *Store) List(ctx context.Context, folder acl.Path, pg Page, c store.Consistency) (Names, error) {
	var names Names
	err := s.settle(ctx, c, func(c store.Consistency) error {
		l := &listing{store: s, under: folder.String(), consistency: c}
		if err := l.read(ctx); err != nil {
			return err
		}
		names = l.page(pg)
		return nil
	})
	return names, err
}

// listing collects the names below one folder.
type listing struct {
	store       *Store
	under       string // the listed folder; "" is the root
	consistency store.Consistency

	mu    sync.Mutex
	names []string      // guarded by mu
	age   time.Duration // the largest; guarded by mu
}

func (l *listing) read(ctx context.Context) error {
	var intentVersion store.Version
	err := l.store.use(func(o *opened) error { intentVersion = o.intentVersion; return nil })
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(listReaders)
	buckets, err := l.children(ctx, keySecrets)
	if err != nil {
		return err
	}
	for _, bucket := range buckets {
		group.Go(func() error { return l.readBucket(groupCtx, keySecrets+"/"+bucket) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	age, err := l.store.checkIntent(ctx, intentVersion)
	l.age = max(l.age, age)
	return err
}

func (l *listing) children(ctx context.Context, key store.Key) ([]string, error) {
	list, err := l.store.backend.Children(ctx, key, l.consistency)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", key, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.age = max(l.age, list.Age)
	return list.Names, nil
}

// readBucket reads the folders of one bucket that lie at or below the listed
// one.
func (l *listing) readBucket(ctx context.Context, bucket store.Key) error {
	ids, err := l.children(ctx, bucket)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := l.readFolder(ctx, bucket+"/"+id, id); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) readFolder(ctx context.Context, key store.Key, id string) error {
	path, err := l.store.folderPath(ctx, key, id, l.consistency)
	if errors.Is(err, store.ErrNotFound) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	prefix, below := relativePrefix(l.under, path)
	if !below {
		return nil
	}
	children, err := l.children(ctx, key)
	if err != nil {
		return err
	}
	return l.add(key, id, prefix, children)
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
	if errors.Is(err, store.ErrNotFound) {
		node, err = s.backend.Get(ctx, key, store.Latest)
	}
	if errors.Is(err, store.ErrNotFound) {
		left, err := s.backend.Children(ctx, key, store.Latest)
		if err == nil && len(left.Names) > 0 {
			return "", corrupt(key, store.ErrNotFound)
		}
		return "", errors.Join(err, store.ErrNotFound)
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

// relativePrefix returns what names in folder begin with, seen from the listed
// folder, and whether folder is the listed one or below it, component by
// component: "ab" is not below "a".
func relativePrefix(listed, folder string) (prefix string, below bool) {
	if folder == listed {
		return "", true
	}
	if listed == "" {
		return folder + "/", true
	}
	rest, ok := strings.CutPrefix(folder, listed+"/")
	return rest + "/", ok
}

func (l *listing) add(key store.Key, id, prefix string, children []string) error {
	names := make([]string, 0, len(children))
	err := l.store.use(func(o *opened) error {
		for _, child := range children {
			name, err := o.names.openName(id, child)
			if err != nil {
				return corrupt(key+"/"+child, err)
			}
			names = append(names, prefix+name)
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, names...)
	return err
}

// page sorts the names bytewise, as whole names, and cuts out the page.
func (l *listing) page(pg Page) Names {
	slices.Sort(l.names)
	names := l.names
	if pg.After != "" {
		i, found := slices.BinarySearch(names, pg.After)
		if found {
			i++
		}
		names = names[i:]
	}
	out := Names{Names: names, Age: l.age}
	if pg.Limit > 0 && len(names) > pg.Limit {
		out.Names = names[:pg.Limit]
		out.Next = out.Names[pg.Limit-1]
	}
	if out.Names == nil {
		out.Names = []string{}
	}
	return out
}
