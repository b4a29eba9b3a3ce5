package names

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// listReaders is how many folders are read at once.
const listReaders = 16

// Sizes are how many names are returned at once.
type Sizes struct {
	Whole int // the length up to which a list is returned in one piece
	More  int // how many names List.More returns
}

// DefaultSizes are for use outside of tests.
var DefaultSizes = Sizes{Whole: 1 << 15, More: 4096}

// Page selects a part of a list.
type Page struct {
	After string // only names greater than this one, bytewise; "" from the start
	Limit int    // at most so many names; 0 is all
}

// Names is a list of secrets, or a page of one.
type Names struct {
	Names []string // sorted bytewise, relative to the listed folder; never nil
	Next  string   // the After of the next page; "" if this was the last
	// Incomplete: damaged records were skipped, which may be those of secrets in
	// this list.
	Incomplete bool
	Age        time.Duration
}

// Lists returns sorted lists of names.
type Lists struct {
	barrier *barrier.Barrier
	folders *Folders
	sizes   Sizes
}

// NewLists returns the lists of the names in folders.
func NewLists(folders *Folders, sizes Sizes) *Lists { return &Lists{folders.barrier, folders, sizes} }

// List is a list of names: all of them, or the first and a way to read the
// others. It belongs to one goroutine.
type List struct {
	// Age is how long ago the storage last confirmed the beginning.
	Age           time.Duration
	intentVersion store.Version
	names         []string
	next          string
	merge         *merge
	whole         bool // all names were returned
	more          int  // how many names More returns
	misplaced     bool // there are damaged folders whose place is not known
}

// List returns the names of all secrets below a folder (the zero Path is the
// root), however deep, relative to it. An unknown folder is an empty list. Names
// without a damaged record are listed in any case; with store.Latest, a damaged
// record that may belong to the list is an error. ErrSealed, ErrCorrupt,
// store.ErrUnavailable.
func (l *Lists) List(ctx context.Context, folder acl.Path, pg Page, c store.Consistency) (Names, error) {
	list, err := l.OpenList(ctx, folder, pg, c)
	if err != nil {
		return Names{}, err
	}
	names, next := list.First()
	out := Names{Names: names, Next: next, Age: list.Age}
	for !list.Whole() {
		more, err := list.More(ctx)
		if err != nil {
			return Names{}, err
		}
		out.Names = append(out.Names, more...)
	}
	out.Incomplete = list.Incomplete()
	return out, nil
}

// OpenList begins a List that need not fit into memory. A page with a Limit of
// at most 32,768 is always whole. The errors are those of List.
func (l *Lists) OpenList(ctx context.Context, folder acl.Path, pg Page, c store.Consistency) (list *List, err error) {
	// Without a server, what can be read is better than nothing.
	strict := c == store.Latest && !l.barrier.Offline()
	err = l.barrier.Settle(ctx, c, func(c store.Consistency) error {
		list, err = l.open(ctx, prefixOf(folder.String()), pg, reading{c, strict})
		return err
	})
	return list, err
}

func (l *Lists) open(ctx context.Context, prefix string, pg Page, r reading) (list *List, err error) {
	intentVersion, age, err := l.unsealed(ctx, r, func() error {
		list, err = l.first(ctx, prefix, pg, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	list.intentVersion, list.Age = intentVersion, age
	return list, nil
}

// unsealed reads names between two checks of the seal intent. It returns the
// version of the intent, and how long ago the storage last confirmed it.
func (l *Lists) unsealed(ctx context.Context, r reading, read func() error) (intentVersion store.Version, age time.Duration, err error) {
	if err := l.barrier.Use(func(k *barrier.Keys) error { intentVersion = k.IntentVersion; return nil }); err != nil {
		return intentVersion, 0, err
	}
	if r.consistency == store.Cached {
		// A server that was stopped catches up here with the changes that it has
		// missed, before it uses the names that it remembers.
		if _, err := l.barrier.CheckIntent(ctx, intentVersion); err != nil {
			return intentVersion, 0, err
		}
	}
	if err := read(); err != nil {
		return intentVersion, 0, err
	}
	age, err = l.barrier.CheckIntent(ctx, intentVersion)
	return intentVersion, age, err
}

// first reads the first names of a list.
func (l *Lists) first(ctx context.Context, prefix string, pg Page, r reading) (*List, error) {
	set, err := l.folders.all(ctx, r)
	if err != nil {
		return nil, err
	}
	m := newMerge(l.folders, set.below(prefix), prefix, pg.After, r)
	limit := l.sizes.Whole
	if pg.Limit > 0 {
		limit = pg.Limit
	}
	names, err := m.next(ctx, limit+1)
	if err != nil {
		return nil, err
	}
	list := &List{names: names, merge: m, whole: true, more: l.sizes.More, misplaced: set.found.Damaged > 0}
	switch {
	case len(names) <= limit:
	case pg.Limit > 0:
		list.names, list.next = names[:limit], names[limit-1]
	default:
		list.whole = false
	}
	return list, nil
}

// First returns the first names, sorted bytewise, and where the next page
// begins: its After, or "" if this is the last.
func (l *List) First() (names []string, next string) { return l.names, l.next }

// Whole reports that all names of the list were returned.
func (l *List) Whole() bool { return l.whole }

// Incomplete reports that damaged records were skipped among the names that were
// returned so far: each of them may be that of a secret in this list.
func (l *List) Incomplete() bool { return l.misplaced || l.merge.damaged > 0 }

// More returns the names that follow, a few thousand at a time, until the list
// is Whole. After an error the list cannot be continued. The errors are those
// of List; a change of the keys is store.ErrUnavailable.
func (l *List) More(ctx context.Context) ([]string, error) {
	b := l.merge.source.barrier
	err := b.Use(func(k *barrier.Keys) error {
		if k.IntentVersion != l.intentVersion {
			return barrier.ErrReadAgain
		}
		return nil
	})
	if err == nil {
		_, err = b.CheckIntent(ctx, l.intentVersion)
	}
	if errors.Is(err, barrier.ErrReadAgain) {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	names, err := l.merge.next(ctx, l.more)
	l.whole = err == nil && len(names) < l.more
	return names, err
}
