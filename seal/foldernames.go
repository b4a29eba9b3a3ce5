package seal

import (
	"context"
	"slices"

	"github.com/maypok86/otter/v2"

	"secretstore/store"
)

// folderNames is the names of the secrets in one folder, decrypted, as the
// storage listed them. It is immutable, and is kept only while the store is
// unsealed.
type folderNames struct {
	listing store.Listing
	plain   []string // of each of the listing's names
	sorted  []string // the same, bytewise
}

// lookAhead is how far a name is searched in the listing before: further than
// names are removed between two lists.
const lookAhead = 64

// decryptAtOnce bounds how many names are decrypted while a seal would have to
// wait: less than a millisecond.
const decryptAtOnce = 512

// namesOf returns the names in a folder: from memory if the storage says that
// nothing has changed, otherwise with only those decrypted that are new.
func (s *Store) namesOf(ctx context.Context, f folder, c store.Consistency) (*folderNames, error) {
	known, err := s.knownNames(f)
	if err != nil || c == store.Cached && known.current() {
		return known, err
	}
	if c == store.Cached {
		// One reads, and the others have what it read.
		leave, err := s.listers.enter(ctx, f.key())
		if err != nil {
			return nil, err
		}
		defer leave()
		if known, err = s.knownNames(f); err != nil || known.current() {
			return known, err
		}
	}
	listing, err := s.children(ctx, f.key(), c)
	if err != nil {
		return nil, err
	}
	names, err := s.decryptNames(f, listing, known)
	if err != nil {
		return nil, err
	}
	return names, s.use(func(o *opened) error { o.names.names.Set(f.id, names); return nil })
}

func (s *Store) knownNames(f folder) (names *folderNames, err error) {
	err = s.use(func(o *opened) error {
		names, _ = o.names.names.GetIfPresent(f.id)
		return nil
	})
	return names, err
}

func (n *folderNames) current() bool { return n != nil && n.listing.Current() }

// decryptNames decrypts a listing, with the help of an earlier one, which may be
// nil.
func (s *Store) decryptNames(f folder, listing store.Listing, known *folderNames) (*folderNames, error) {
	if known == nil {
		known = &folderNames{}
	}
	n := &folderNames{listing: listing, plain: make([]string, len(listing.Names))}
	fresh, removed := n.take(known)
	added := make([]string, 0, len(fresh))
	for batch := range slices.Chunk(fresh, decryptAtOnce) {
		err := s.use(func(o *opened) error {
			for _, i := range batch {
				name, err := o.names.openName(f.id, listing.Names[i])
				if err != nil {
					return corrupt(f.key()+"/"+listing.Names[i], err)
				}
				n.plain[i] = name
				added = append(added, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	n.sorted = without(known.sorted, removed)
	n.sorted = merged(n.sorted, added)
	return n, nil
}

// take copies what is known already, and returns which names of the listing have
// to be decrypted, and which known ones are gone. Storages list what has stayed
// in the order in which they listed it before, or nearly so: both listings are
// walked at once. A name that is missed so is decrypted again.
func (n *folderNames) take(known *folderNames) (fresh []int, removed []string) {
	at := 0
	for i, child := range n.listing.Names {
		ahead := known.listing.Names[at:min(at+lookAhead, len(known.plain))]
		skip := slices.Index(ahead, child)
		if skip < 0 {
			fresh = append(fresh, i)
			continue
		}
		removed = append(removed, known.plain[at:at+skip]...)
		n.plain[i] = known.plain[at+skip]
		at += skip + 1
	}
	return fresh, append(removed, known.plain[at:]...)
}

// without returns sorted without removed, which is sorted too. It leaves sorted
// alone, for others read it.
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

// merged returns the names of two sorted lists. It leaves both alone.
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

// nameCache remembers the decrypted names of folders by the folder's id. It is
// cleared together with the name keys.
type nameCache struct {
	*otter.Cache[string, *folderNames]
}

const (
	// nameCacheBytes bounds the cache.
	nameCacheBytes = 32 << 20
	// stringSize is what a string takes besides its bytes.
	stringSize = 16
)

func newNameCache() (nameCache, error) {
	cache, err := otter.New(&otter.Options[string, *folderNames]{
		MaximumWeight: nameCacheBytes,
		Weigher: func(_ string, n *folderNames) uint32 {
			weight := 200
			for i, child := range n.listing.Names {
				weight += 3*stringSize + len(child) + len(n.plain[i])
			}
			return uint32(weight) // a listing is bounded by what one reply may hold
		},
	})
	return nameCache{cache}, err
}

func (c nameCache) clear() {
	c.InvalidateAll()
	c.StopAllGoroutines()
}
