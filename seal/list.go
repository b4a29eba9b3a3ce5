package seal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secretstore/acl"
	"secretstore/store"
)

const (
	// listReaders is how many folders are read at once.
	listReaders = 16
	// wholeNames is how long a list may be to be answered in one piece.
	wholeNames = 1 << 15
)

// List is a list of names: all of them, or the first and a way to the others.
// It belongs to one goroutine.
type List struct {
	// Age is how long ago the storage last confirmed the beginning.
	Age           time.Duration
	intentVersion store.Version
	names         []string
	next          string
	rest          *merge // nil if names is the whole list
}

// listed is what a list was asked for.
type listed struct {
	prefix string
	page   Page
}

// List returns the names of all secrets below a folder (the zero Path is the
// root), however deep, relative to it. An unknown folder is an empty list.
// ErrSealed, ErrCorrupt, store.ErrUnavailable.
func (s *Store) List(ctx context.Context, folder acl.Path, pg Page, c store.Consistency) (Names, error) {
	l, err := s.OpenList(ctx, folder, pg, c)
	if err != nil {
		return Names{}, err
	}
	names, next := l.First()
	out := Names{Names: names, Next: next, Age: l.Age}
	for !l.Whole() {
		more, err := l.More(ctx)
		if err != nil {
			return Names{}, err
		}
		out.Names = append(out.Names, more...)
	}
	return out, nil
}

// OpenList begins a List that need not fit into memory. A page with a Limit of
// at most 32,768 is always whole. The errors are those of List.
func (s *Store) OpenList(ctx context.Context, folder acl.Path, pg Page, c store.Consistency) (*List, error) {
	var l *List
	err := s.settle(ctx, c, func(c store.Consistency) (err error) {
		l, err = s.openList(ctx, listed{prefixOf(folder.String()), pg}, c)
		return err
	})
	return l, err
}

func (s *Store) openList(ctx context.Context, what listed, c store.Consistency) (*List, error) {
	var intentVersion store.Version
	if err := s.use(func(o *opened) error { intentVersion = o.intentVersion; return nil }); err != nil {
		return nil, err
	}
	if c == store.Cached {
		// A server that was stopped catches up here with the changes that it has
		// missed, before it uses the names that it remembers.
		if _, err := s.checkIntent(ctx, intentVersion); err != nil {
			return nil, err
		}
	}
	l, err := s.makeList(ctx, what, c)
	if err != nil {
		return nil, err
	}
	l.intentVersion = intentVersion
	l.Age, err = s.checkIntent(ctx, intentVersion)
	return l, err
}

func (s *Store) makeList(ctx context.Context, what listed, c store.Consistency) (*List, error) {
	set, err := s.folders(ctx, c)
	if err != nil {
		return nil, err
	}
	m := newMerge(s, set.below(what.prefix), what, c)
	limit := wholeNames
	if what.page.Limit > 0 {
		limit = what.page.Limit
	}
	names, err := m.next(ctx, limit+1)
	if err != nil {
		return nil, err
	}
	l := &List{names: names}
	switch {
	case len(names) <= limit:
	case what.page.Limit > 0:
		l.names, l.next = names[:limit], names[limit-1]
	default:
		l.rest = m
	}
	return l, nil
}

// First returns the names that are there already, sorted bytewise, and where the
// next page begins: the After of it, or "" if this is the last.
func (l *List) First() (names []string, next string) { return l.names, l.next }

// Whole says that there are no names but those that were returned.
func (l *List) Whole() bool { return l.rest == nil }

// More returns the names that follow, a few thousand at a time, until the list
// is Whole. After an error the rest is not to be had. The errors are those of
// List; a change of the keys is store.ErrUnavailable.
func (l *List) More(ctx context.Context) ([]string, error) {
	s := l.rest.store
	err := s.use(func(o *opened) error {
		if o.intentVersion != l.intentVersion {
			return errLookAgain
		}
		return nil
	})
	if err == nil {
		_, err = s.checkIntent(ctx, l.intentVersion)
	}
	if errors.Is(err, errLookAgain) {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err != nil {
		return nil, err
	}
	names, err := l.rest.next(ctx, moreNames)
	if err == nil && len(names) < moreNames {
		l.rest = nil
	}
	return names, err
}

// moreNames is how many names More returns.
const moreNames = 4096
