// Package names keeps the decrypted names of folders and secrets while the
// store is unsealed, and merges them into sorted lists. All of it is dropped
// together with the keys.
package names

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Folders reads the folders of secrets, or those of deleted secrets, and the
// names in them, and remembers them.
type Folders struct {
	root    store.Key // barrier.KeySecrets or barrier.KeyDeleted
	backend store.Backend
	barrier *barrier.Barrier
	readers *barrier.Queue
	// Decrypted names are added to these caches only inside Barrier.Use, so that
	// none is added after a seal has cleared them.
	paths pathTable
	names *otter.Cache[string, *folderNames] // by the id of the folder
}

// NewFolders returns the folders below root, which is barrier.KeySecrets or
// barrier.KeyDeleted. It is to be called before the first use of the barrier.
func NewFolders(root store.Key, backend store.Backend, b *barrier.Barrier) (*Folders, error) {
	names, err := newNameCache()
	if err != nil {
		return nil, err
	}
	f := &Folders{root: root, backend: backend, barrier: b, readers: barrier.NewQueue(), names: names}
	b.OnDrop(f.Forget)
	return f, nil
}

// Forget drops everything that is remembered.
func (f *Folders) Forget() {
	f.paths.clear()
	f.names.InvalidateAll()
}

// Close ends the goroutines of the caches.
func (f *Folders) Close() { f.names.StopAllGoroutines() }

// Remembered returns how many folders and how many lists of names in a folder
// are in memory. It is for tests.
func (f *Folders) Remembered() (folders, names int) {
	if set := f.paths.last(); set != nil {
		folders = len(set.folders)
	}
	return folders, f.names.EstimatedSize()
}

// pathTable remembers the paths of folders by id, so that a list does not read
// the record of every folder. The zero value is empty.
type pathTable struct {
	mu    sync.RWMutex
	paths map[string]string // guarded by mu
	set   *folderSet        // of the last list; guarded by mu
}

// maxFolders bounds the table; beyond it folders are read each time. At some
// 250 bytes each it stays below 64 MB.
const maxFolders = 1 << 18

func (t *pathTable) get(id string) (string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	path, known := t.paths[id]
	return path, known
}

func (t *pathTable) put(id, path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paths == nil {
		t.paths = make(map[string]string)
	}
	if len(t.paths) < maxFolders {
		t.paths[id] = path
	}
}

// last returns the folders of the last list, nil if there was none.
func (t *pathTable) last() *folderSet {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.set
}

func (t *pathTable) setLast(set *folderSet) {
	if len(set.folders) > maxFolders {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set = set
}

func (t *pathTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paths, t.set = nil, nil
}

// folder is a folder that has secrets, or had some.
type folder struct {
	id     string
	prefix string // what the full names of its secrets begin with: "a/b/"; "" of the root
	lower  string // prefix in lower case
	path   acl.Path
	bad    bool // its path is not one, so that it is never shown
	last   *lastNames
}

func newFolder(id, path string) folder {
	f := folder{id: id, prefix: prefixOf(path), last: new(lastNames)}
	f.lower = strings.ToLower(f.prefix)
	var err error
	f.path, err = acl.ParseFolder(path)
	f.bad = err != nil
	return f
}

func (f *Folders) keyOf(fo folder) store.Key { return barrier.FolderKey(f.root, fo.id) }

// folderSet is all folders at one moment. It is immutable.
type folderSet struct {
	names   []string       // of the buckets
	buckets []folderBucket // of names, in their order
	folders []folder       // of all buckets, sorted by prefix
	// found is what was skipped: folders whose place is not known, which may be in
	// any list.
	found barrier.Finding
	// changed has the flags of the root's listing and of each bucket's; it is
	// empty if one of them has none.
	changed []*atomic.Bool
	// lookAgain is when folders that were skipped may have been repaired, which no
	// flag says.
	lookAgain time.Time
}

// lookAgainAfter is how long a list relies on a folder still being damaged.
const lookAgainAfter = time.Minute

// folderBucket is the folders of one bucket.
type folderBucket struct {
	listing store.Listing
	folders []folder
	found   barrier.Finding
	whole   bool // folders has all of the listing
	unread  bool // the listing cannot be read
}

// current reports, without I/O, that the storage would list the same folders.
func (s *folderSet) current() bool {
	return s != nil && len(s.changed) > 0 && !slices.ContainsFunc(s.changed, (*atomic.Bool).Load) &&
		(s.found.Damaged == 0 || time.Now().Before(s.lookAgain))
}

// changeFlags returns the flags that say when a set is no longer current.
func (s *folderSet) changeFlags(root store.Listing) []*atomic.Bool {
	all := append(make([]*atomic.Bool, 0, 1+len(s.buckets)), root.Changed)
	for i := range s.buckets {
		if !s.buckets[i].unread {
			all = append(all, s.buckets[i].listing.Changed)
		}
	}
	if slices.Contains(all, nil) {
		return nil
	}
	return all
}

// below returns the folder with a prefix and those below it.
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

// reading is how a list reads.
type reading struct {
	consistency store.Consistency
	// strict makes an error of damage, which is only noted otherwise.
	strict bool
}

// check returns the error for what was found.
func (r reading) check(found barrier.Finding) error {
	if r.strict && found.Damaged > 0 {
		return found.First[0]
	}
	return nil
}

// all returns all folders, from memory if the storage says that nothing has
// changed.
func (f *Folders) all(ctx context.Context, r reading) (*folderSet, error) {
	cached, err := f.cachedSet()
	if err != nil || r.consistency == store.Cached && cached.current() {
		return cached, err
	}
	if r.consistency == store.Cached {
		// One request reads, and the others use its result.
		leave, err := f.readers.Enter(ctx, f.root)
		if err != nil {
			return nil, err
		}
		defer leave()
		if cached, err = f.cachedSet(); err != nil || cached.current() {
			return cached, err
		}
	}
	set, err := f.readAll(ctx, r.consistency, cached)
	if err != nil {
		return nil, err
	}
	if err := f.barrier.Use(func(*barrier.Keys) error { f.paths.setLast(set); return nil }); err != nil {
		return nil, err
	}
	f.report(set)
	return set, r.check(set.found)
}

// report says what a set has skipped, and forgets the folders that are gone.
func (f *Folders) report(set *folderSet) {
	f.reportDamage(f.root, set.found)
	damage := f.barrier.Damage()
	if f.root != barrier.KeySecrets || !damage.Any() {
		return
	}
	present := make(map[store.Key]bool, len(set.folders))
	for _, fo := range set.folders {
		present[f.keyOf(fo)] = true
	}
	damage.Keep(func(key store.Key) bool { return present[key] })
}

// reportDamage says what was skipped. Damage among the deleted secrets is reported
// by their expiry, which reads all of them.
func (f *Folders) reportDamage(key store.Key, found barrier.Finding) {
	if f.root == barrier.KeySecrets {
		f.barrier.Damage().Report(key, found)
	}
}

func (f *Folders) cachedSet() (set *folderSet, err error) {
	err = f.barrier.Use(func(*barrier.Keys) error { set = f.paths.last(); return nil })
	return set, err
}

// readAll reads the buckets that may have changed since cached, which may be
// nil.
func (f *Folders) readAll(ctx context.Context, c store.Consistency, cached *folderSet) (*folderSet, error) {
	root, err := f.barrier.Children(ctx, f.root, c)
	if err != nil {
		return nil, err
	}
	before := make(map[string]*folderBucket)
	if cached != nil {
		for i, name := range cached.names {
			before[name] = &cached.buckets[i]
		}
	}
	set := &folderSet{names: ofThisProgram(root.Names, barrier.IsBucket), lookAgain: time.Now().Add(lookAgainAfter)}
	set.found.Foreign = root.Foreign + len(root.Names) - len(set.names)
	set.buckets = make([]folderBucket, len(set.names))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(listReaders)
	for i, name := range set.names {
		was := before[name]
		if c == store.Cached && was != nil && was.listing.Current() && was.found.Damaged == 0 {
			set.buckets[i] = *was
			continue
		}
		group.Go(func() (err error) {
			set.buckets[i], err = f.readBucket(groupCtx, f.root+"/"+name, c, was)
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
		set.found.Join(set.buckets[i].found)
	}
	slices.SortFunc(set.folders, func(a, b folder) int { return strings.Compare(a.prefix, b.prefix) })
	set.changed = set.changeFlags(root)
	return set, nil
}

// ofThisProgram returns the names that this program can have made. It does not
// modify names.
func ofThisProgram(names []string, ours func(string) bool) []string {
	if !slices.ContainsFunc(names, func(name string) bool { return !ours(name) }) {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !ours(name) })
}

// readBucket reads a bucket. It skips folders that are damaged: their places are
// not known.
func (f *Folders) readBucket(ctx context.Context, key store.Key, c store.Consistency, was *folderBucket) (b folderBucket, err error) {
	b.listing, err = f.barrier.Children(ctx, key, c)
	if b.found.Skip(err) {
		b.unread = true
		return b, nil
	}
	if err != nil {
		return b, err
	}
	if was != nil && was.whole && slices.Equal(was.listing.Names, b.listing.Names) {
		b.folders, b.found, b.whole = was.folders, was.found, true
		return b, nil
	}
	ids := ofThisProgram(b.listing.Names, func(id string) bool { return barrier.IsFolderKey(f.root, key+"/"+id, id) })
	b.found.Foreign = b.listing.Foreign + len(b.listing.Names) - len(ids)
	b.folders = make([]folder, 0, len(ids))
	var missing []string
	for _, id := range ids {
		path, err := f.Path(ctx, key+"/"+id, id, c)
		switch {
		case err == nil:
			b.folders = append(b.folders, newFolder(id, path))
		case errors.Is(err, store.ErrNotFound):
			missing = append(missing, id)
		case !b.found.Skip(err):
			return b, err
		}
	}
	b.whole = len(missing) == 0 && b.found.Damaged == 0
	return b, f.addMissing(ctx, key, missing, &b)
}

// addMissing looks again at folders without a record. Mostly they were removed
// while their bucket was read; one that is still listed is damaged.
func (f *Folders) addMissing(ctx context.Context, bucket store.Key, missing []string, b *folderBucket) error {
	if len(missing) == 0 {
		return nil
	}
	now, err := f.barrier.Children(ctx, bucket, store.Latest)
	if b.found.Skip(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, id := range missing {
		if !slices.Contains(now.Names, id) {
			continue
		}
		key := bucket + "/" + id
		path, err := f.Path(ctx, key, id, store.Latest)
		if errors.Is(err, store.ErrNotFound) {
			err = barrier.Corrupt(key, err)
		}
		switch {
		case err == nil:
			b.folders = append(b.folders, newFolder(id, path))
		case !b.found.Skip(err):
			return err
		}
	}
	return nil
}

// prefixOf returns what the full names in a folder begin with. "ab" is not
// below "a", and its names do not begin with "a/".
func prefixOf(path string) string {
	if path == "" {
		return ""
	}
	return path + "/"
}

// Path returns the path of a folder, given its key and its id, from memory if
// it is known: an id belongs to one path forever. A folder without a record and
// without secrets is store.ErrNotFound; one that has lost its record, or is not
// in its place, is ErrCorrupt.
func (f *Folders) Path(ctx context.Context, key store.Key, id string, c store.Consistency) (string, error) {
	path, err := f.path(ctx, key, id, c)
	if c == store.Cached && errors.Is(err, barrier.ErrCorrupt) {
		return f.path(ctx, key, id, store.Latest) // it may have been repaired since it was cached
	}
	return path, err
}

func (f *Folders) path(ctx context.Context, key store.Key, id string, c store.Consistency) (string, error) {
	if !barrier.IsFolderKey(f.root, key, id) {
		return "", barrier.Corrupt(key, barrier.ErrBadName)
	}
	var path string
	known := false
	err := f.barrier.Use(func(*barrier.Keys) error {
		path, known = f.paths.get(id)
		return nil
	})
	if err != nil || known {
		return path, err
	}
	node, err := f.backend.Get(ctx, key, c)
	for attempt := 0; errors.Is(err, store.ErrNotFound); attempt++ {
		left, listErr := f.barrier.Children(ctx, key, store.Latest)
		switch {
		case listErr != nil:
			return "", listErr
		case len(left.Names) == 0:
			return "", store.ErrNotFound
		case attempt == barrier.MaxAttempts:
			return "", barrier.Corrupt(key, store.ErrNotFound)
		}
		// A folder that was removed may have been made again between the two.
		node, err = f.backend.Get(ctx, key, store.Latest)
	}
	if err != nil {
		return "", barrier.ReadError(key, err)
	}
	return path, f.barrier.Use(func(k *barrier.Keys) (err error) {
		if path, err = k.OpenFolder(id, node.Data); err != nil {
			return barrier.Corrupt(key, err)
		}
		f.paths.put(id, path)
		return nil
	})
}
