package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
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
	// Age is how long ago the storage last stood behind the beginning.
	Age           time.Duration
	intentVersion store.Version
	answer        *answer
	rest          *merge // nil if answer is the whole list
}

// answer is a list that has been made. Others share it.
type answer struct {
	names []string
	next  string
	// What it was made of: an answer is good while none of these is set. It does
	// not keep the folders themselves, which are other ones after each change of
	// theirs, and may be many times its own size.
	set     []*atomic.Bool // see folderSet; shared with other answers
	used    []*atomic.Bool // of the folders' listings; see store.Listing
	encoded atomic.Pointer[[]byte]
}

func (a *answer) current() bool {
	return a != nil && len(a.set) > 0 && noneSet(a.set) && noneSet(a.used)
}

func noneSet(changed []*atomic.Bool) bool {
	return !slices.ContainsFunc(changed, (*atomic.Bool).Load)
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
	out := Names{Names: append([]string{}, names...), Next: next, Age: l.Age}
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
	var known *answer
	err := s.use(func(o *opened) error {
		intentVersion = o.intentVersion
		known, _ = o.names.lists.answers.GetIfPresent(what)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if c == store.Cached {
		// A server that was stopped catches up here with what it has yet to be
		// told, before it looks at what it keeps.
		if _, err := s.checkIntent(ctx, intentVersion); err != nil {
			return nil, err
		}
	}
	l := &List{answer: known} // which is shared; the List is not
	if c != store.Cached || !known.current() {
		if l, err = s.makeList(ctx, what, c); err != nil {
			return nil, err
		}
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
	l := &List{answer: &answer{names: names, set: set.changed}}
	switch {
	case len(names) <= limit:
	case what.page.Limit > 0:
		l.answer.names = names[:limit]
		l.answer.next = names[limit-1]
	default:
		l.rest = m
		return l, nil
	}
	if l.answer.used = m.used; m.untold {
		return l, nil // nothing would tell when it changes
	}
	return l, s.use(func(o *opened) error { o.names.lists.answers.Set(what, l.answer); return nil })
}

// First returns the names that are there already, sorted bytewise, and where the
// next page begins: the After of it, or "" if this is the last. The names belong
// to the store.
func (l *List) First() (names []string, next string) { return l.answer.names, l.answer.next }

// Whole says that there are no names but those that were returned.
func (l *List) Whole() bool { return l.rest == nil }

// Encoded returns what encode makes of a whole list. It is kept with the list,
// and belongs to the store: there is one encoding of lists.
func (l *List) Encoded(encode func(names []string, next string) []byte) []byte {
	if kept := l.answer.encoded.Load(); kept != nil {
		return *kept
	}
	body := encode(l.First())
	l.answer.encoded.Store(&body)
	return body
}

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
