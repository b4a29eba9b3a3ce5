package names

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"weak"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/errgroup"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// folderNames is the decrypted names of the secrets in one folder, as the
// storage listed them. It is immutable.
type folderNames struct {
	listing  store.Listing
	children []string // the listing's names that are those of secrets
	plain    []string // the name of each of them
	sorted   []string // the same, bytewise
	lower    []string // sorted, with each name in lower case
	found    barrier.Finding
}

// lastNames finds the names in a folder faster than the cache, which alone keeps them.
// The zero value finds none.
type lastNames struct {
	names atomic.Pointer[weak.Pointer[folderNames]]
}

func (l *lastNames) get() *folderNames {
	if names := l.names.Load(); names != nil {
		return names.Value()
	}
	return nil
}

func (l *lastNames) set(names *folderNames) {
	found := weak.Make(names)
	l.names.Store(&found)
}

// lookAhead is how far a name is searched in the listing before: further than
// names are removed between two lists.
const lookAhead = 64

// decryptAtOnce bounds how many names are decrypted while a seal would have to
// wait: less than a millisecond.
const decryptAtOnce = 512

const (
	// nameCacheBytes bounds the cache of names of one Folders.
	nameCacheBytes = 32 << 20
	// stringSize is the size of a string without its bytes.
	stringSize = 16
)

func newNameCache() (*otter.Cache[string, *folderNames], error) {
	return otter.New(&otter.Options[string, *folderNames]{
		MaximumWeight: nameCacheBytes,
		Weigher: func(_ string, n *folderNames) uint32 {
			weight := 200
			for _, child := range n.listing.Names {
				weight += stringSize + len(child)
			}
			for _, name := range n.plain {
				weight += 3*stringSize + len(name)
			}
			return uint32(weight) // a listing is bounded by the size of one reply
		},
	})
}

// namesOf returns the names in a folder: from memory if the storage says that
// nothing has changed, otherwise with only the new ones decrypted.
func (f *Folders) namesOf(ctx context.Context, fo folder, r reading) (*folderNames, error) {
	cached, err := f.cachedNames(fo)
	if err != nil || r.consistency == store.Cached && cached.current() {
		return cached, err
	}
	if r.consistency == store.Cached {
		// One request reads, and the others use its result.
		leave, err := f.readers.Enter(ctx, f.keyOf(fo))
		if err != nil {
			return nil, err
		}
		defer leave()
		if cached, err = f.cachedNames(fo); err != nil || cached.current() {
			return cached, err
		}
	}
	names, err := f.readNames(ctx, fo, r.consistency, cached)
	if err != nil {
		return nil, err
	}
	f.reportDamage(f.keyOf(fo), names.found)
	err = f.barrier.Use(func(*barrier.Keys) error {
		f.names.Set(fo.id, names)
		fo.last.set(names)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return names, r.check(names.found)
}

// namesOfAll returns the names in each of a few folders, which it reads at once.
func (f *Folders) namesOfAll(ctx context.Context, folders []folder, r reading) ([]*folderNames, error) {
	all := make([]*folderNames, len(folders))
	var unread []int // their indexes
	err := f.barrier.Use(func(*barrier.Keys) error {
		for i, fo := range folders {
			if all[i] = fo.last.get(); all[i] == nil {
				all[i], _ = f.names.GetIfPresent(fo.id)
				fo.last.set(all[i])
			}
			if r.consistency != store.Cached || !all[i].current() {
				unread = append(unread, i)
			}
		}
		return nil
	})
	if err != nil || len(unread) == 0 {
		return all, err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, i := range unread {
		group.Go(func() (err error) {
			all[i], err = f.namesOf(ctx, folders[i], r)
			return err
		})
	}
	return all, group.Wait()
}

// readNames reads the names in a folder, with the help of an earlier list, which
// may be nil. There are no names, and nothing is current, if the folder cannot
// be listed.
func (f *Folders) readNames(ctx context.Context, fo folder, c store.Consistency, earlier *folderNames) (*folderNames, error) {
	listing, err := f.barrier.Children(ctx, f.keyOf(fo), c)
	unread := new(folderNames)
	if unread.found.Skip(err) {
		return unread, nil
	}
	if err != nil {
		return nil, err
	}
	return f.decryptNames(fo, listing, earlier)
}

func (f *Folders) cachedNames(fo folder) (names *folderNames, err error) {
	err = f.barrier.Use(func(*barrier.Keys) error {
		names, _ = f.names.GetIfPresent(fo.id)
		return nil
	})
	return names, err
}

func (n *folderNames) current() bool { return n != nil && n.listing.Current() }

// decryptNames decrypts a listing, with the help of an earlier one, which may
// be nil.
func (f *Folders) decryptNames(fo folder, listing store.Listing, earlier *folderNames) (*folderNames, error) {
	if earlier == nil {
		earlier = &folderNames{}
	}
	n := &folderNames{listing: listing, children: listing.Names, plain: make([]string, len(listing.Names))}
	n.found.Foreign = listing.Foreign
	fresh, removed := n.copyFrom(earlier)
	added := make([]string, 0, len(fresh))
	notOurs := make(map[int]bool)
	for batch := range slices.Chunk(fresh, decryptAtOnce) {
		err := f.barrier.Use(func(k *barrier.Keys) error {
			for _, i := range batch {
				child := listing.Names[i]
				name, err := k.OpenName(fo.id, child)
				if err == nil {
					n.plain[i] = name
					added = append(added, name)
					continue
				}
				notOurs[i] = true
				if !barrier.IsSecretName(child) {
					n.found.Foreign++
				} else {
					n.found.Skip(barrier.Corrupt(f.keyOf(fo)+"/"+child, err))
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	n.leaveOut(notOurs)
	slices.Sort(added)
	slices.Sort(removed)
	n.sorted = without(earlier.sorted, removed)
	n.sorted = merged(n.sorted, added)
	n.lower = lowered(n.sorted)
	return n, nil
}

// lowered returns the names in lower case: the same slice if they are.
func lowered(names []string) []string {
	if !slices.ContainsFunc(names, func(name string) bool { return strings.ToLower(name) != name }) {
		return names
	}
	lower := make([]string, len(names))
	for i, name := range names {
		lower[i] = strings.ToLower(name)
	}
	return lower
}

// leaveOut leaves the names with these indexes out of children.
func (n *folderNames) leaveOut(indexes map[int]bool) {
	if len(indexes) == 0 {
		return
	}
	var children, plain []string
	for i, child := range n.children {
		if !indexes[i] {
			children, plain = append(children, child), append(plain, n.plain[i])
		}
	}
	n.children, n.plain = children, plain
}

// copyFrom copies the names that earlier has too. It returns the indexes of the
// names that have to be decrypted, and the names of earlier that are gone.
// Storages list the names that stay in the same order, or nearly so: both
// listings are walked at once. A name that this misses is decrypted again.
func (n *folderNames) copyFrom(earlier *folderNames) (fresh []int, removed []string) {
	at := 0
	for i, child := range n.listing.Names {
		ahead := earlier.children[at:min(at+lookAhead, len(earlier.children))]
		skip := slices.Index(ahead, child)
		if skip < 0 {
			fresh = append(fresh, i)
			continue
		}
		removed = append(removed, earlier.plain[at:at+skip]...)
		n.plain[i] = earlier.plain[at+skip]
		at += skip + 1
	}
	return fresh, append(removed, earlier.plain[at:]...)
}

// without returns sorted without removed, which is sorted too. It does not
// modify sorted, which other goroutines read.
func without(sorted, removed []string) []string {
	if len(removed) == 0 {
		return sorted
	}
	left := make([]string, 0, len(sorted))
	for _, name := range sorted {
		if len(removed) > 0 && removed[0] == name {
			removed = removed[1:]
			continue
		}
		left = append(left, name)
	}
	return left
}

// merged returns the names of two sorted lists. It modifies neither.
func merged(a, b []string) []string {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	all := make([]string, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0] < b[0] {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
}
