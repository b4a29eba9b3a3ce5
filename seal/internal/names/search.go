package names

import (
	"context"
	"slices"
	"strings"
	"time"

	"secretstore/acl"
	"secretstore/store"
)

const (
	// DefaultShortPage is how many names or entries Search and Children return if
	// the page has no limit, and MaxShortPage how many at most.
	DefaultShortPage = 100
	MaxShortPage     = 10000
)

// short returns the page with a limit.
func (p Page) short() Page {
	if p.Limit <= 0 {
		p.Limit = DefaultShortPage
	}
	p.Limit = min(p.Limit, MaxShortPage)
	return p
}

// Search selects names below a folder by what they contain.
type Search struct {
	Page
	// Text is a part of the name relative to the folder. The case of ASCII letters
	// does not matter; names have no others. Every name contains "".
	Text string
	// Shown reports whether the names of the secrets in a folder may be returned.
	// They are not counted either if they may not. Nil: none may.
	Shown func(folder acl.Path) bool
}

// Found is a page of the names that a search has found.
type Found struct {
	Names
	Matches int // how many names contain the text, on all pages
	Total   int // how many names were searched
}

// Child is one entry of a folder: a secret in it, or a folder below it, whose
// name ends in a slash.
type Child struct {
	Name    string
	Secrets int // how many a folder has, however deep; 0 of a secret
}

// Children is a page of the entries of a folder.
type Children struct {
	Entries    []Child // sorted bytewise by name; never nil
	Next       string  // the After of the next page; "" if this was the last
	Total      int     // how many secrets are below the folder, on all pages
	Incomplete bool    // as in Names
	Age        time.Duration
}

// Search returns the names below a folder that contain a text, a page of them
// sorted bytewise. It visits all names below the folder,
// and needs memory for one page besides those that are remembered anyway. The
// errors are those of List.
func (l *Lists) Search(ctx context.Context, folder acl.Path, s Search, c store.Consistency) (Found, error) {
	var m *matcher
	incomplete, age, err := l.visit(ctx, folder, s.Shown, c,
		func() { m = newMatcher(s) },
		func(prefix, lower string, names *folderNames) { m.visit(prefix, lower, names) })
	if err != nil {
		return Found{}, err
	}
	names, next := m.page()
	return Found{Names{names, next, incomplete, age}, m.matches, m.total}, nil
}

// Children returns the secrets in a folder and the folders below it, with how many
// secrets each has: those that shown allows, as in Search. Folders without any are
// left out. The errors are those of List.
func (l *Lists) Children(ctx context.Context, folder acl.Path, shown func(acl.Path) bool, pg Page, c store.Consistency) (Children, error) {
	var n *counter
	pg = pg.short()
	incomplete, age, err := l.visit(ctx, folder, shown, c,
		func() { n = &counter{page: pg} },
		func(prefix, _ string, names *folderNames) { n.visit(prefix, names.sorted) })
	if err != nil {
		return Children{}, err
	}
	out := Children{Entries: n.all(), Total: n.total, Incomplete: incomplete, Age: age}
	if len(out.Entries) > pg.Limit {
		out.Entries = out.Entries[:pg.Limit]
		out.Next = out.Entries[pg.Limit-1].Name
	}
	return out, nil
}

// visitor is called with the names in one folder. Their prefix is relative to the
// folder that is visited; lower is the same in lower case.
type visitor func(prefix, lower string, names *folderNames)

// visit calls each for every folder below this one that is shown, in order. begin
// comes first; both may happen several times, if the names have to be read again.
func (l *Lists) visit(ctx context.Context, folder acl.Path, shown func(acl.Path) bool, c store.Consistency, begin func(), each visitor) (incomplete bool, age time.Duration, err error) {
	prefix := prefixOf(folder.String())
	err = l.barrier.Settle(ctx, c, func(c store.Consistency) error {
		r := reading{c, c == store.Latest && !l.barrier.Offline()}
		_, age, err = l.unsealed(ctx, r, func() error {
			begin()
			incomplete, err = l.visitOnce(ctx, prefix, shown, r, each)
			return err
		})
		return err
	})
	return incomplete, age, err
}

func (l *Lists) visitOnce(ctx context.Context, prefix string, shown func(acl.Path) bool, r reading, each visitor) (incomplete bool, err error) {
	set, err := l.folders.all(ctx, r)
	if err != nil {
		return false, err
	}
	incomplete = set.found.Damaged > 0
	var batch []folder
	for next := range slices.Chunk(set.below(prefix), listReaders) {
		batch = appendShown(batch[:0], next, shown)
		all, err := l.folders.namesOfAll(ctx, batch, r)
		if err != nil {
			return false, err
		}
		for i, names := range all {
			incomplete = incomplete || names.found.Damaged > 0
			each(batch[i].prefix[len(prefix):], batch[i].lower[len(prefix):], names)
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	return incomplete, nil
}

// appendShown appends the folders that are shown.
func appendShown(to, folders []folder, shown func(acl.Path) bool) []folder {
	for _, f := range folders {
		if shown != nil && !f.bad && shown(f.path) {
			to = append(to, f)
		}
	}
	return to
}

// matcher finds the names that contain a text, and keeps the first ones of a
// page.
type matcher struct {
	text string // in lower case
	// The parts of text up to its last slash, and after it; folder is "" if text has
	// none. The last part of a name has no slash: text begins before that part exactly
	// if the prefix ends with folder, and the part begins with name.
	folder, name   string
	after          string
	limit          int
	matches, total int
	found          []string // more than limit if another page follows
	last           string   // names after it are not on the page; "" if that is not known
}

func newMatcher(s Search) *matcher {
	m := &matcher{text: strings.ToLower(s.Text), after: s.After, limit: s.Page.short().Limit}
	slash := strings.LastIndexByte(m.text, '/') + 1
	m.folder, m.name = m.text[:slash], m.text[slash:]
	return m
}

// visit looks at the names in one folder.
func (m *matcher) visit(prefix, lower string, names *folderNames) {
	m.total += len(names.sorted)
	everything := strings.Contains(lower, m.text)
	if !everything && !strings.HasSuffix(lower, m.folder) {
		return
	}
	for i, name := range names.sorted {
		if !everything && !m.matchesName(names.lower[i]) {
			continue
		}
		m.matches++
		if follows(prefix, name, m.after) {
			m.keep(prefix, name)
		}
	}
}

// matchesName reports whether the text is in a name, or begins in its prefix, which
// ends with m.folder.
func (m *matcher) matchesName(lower string) bool {
	if m.folder == "" {
		return strings.Contains(lower, m.name)
	}
	return strings.HasPrefix(lower, m.name)
}

// keep keeps a name if it may be on the page.
func (m *matcher) keep(prefix, name string) {
	if m.last != "" && follows(prefix, name, m.last) {
		return
	}
	if m.found = append(m.found, prefix+name); len(m.found) > 2*(m.limit+1) {
		m.cut()
	}
}

// cut drops all but the first names, and one more.
func (m *matcher) cut() {
	slices.Sort(m.found)
	if len(m.found) > m.limit+1 {
		m.found = m.found[:m.limit+1]
		m.last = m.found[m.limit]
	}
}

// page returns the page, and where the next begins.
func (m *matcher) page() (names []string, next string) {
	m.cut()
	if names = m.found; len(names) > m.limit {
		names = names[:m.limit]
		next = names[m.limit-1]
	}
	return append([]string{}, names...), next
}

// follows reports whether prefix+name > after, without joining them.
func follows(prefix, name, after string) bool {
	if rest, within := strings.CutPrefix(after, prefix); within {
		return name > rest
	}
	return prefix > after
}

// counter counts the secrets below each folder of one folder, and keeps the
// entries of a page.
type counter struct {
	page    Page
	total   int
	folders []Child // in order; more than a page if another one follows
	secrets []string
}

// visit counts the names in one folder. Folders come in order.
func (n *counter) visit(prefix string, names []string) {
	n.total += len(names)
	if prefix == "" {
		from, found := slices.BinarySearch(names, n.page.After)
		if found {
			from++
		}
		n.secrets = names[from:min(len(names), from+n.page.Limit+1)]
		return
	}
	name := prefix[:strings.IndexByte(prefix, '/')+1]
	last := len(n.folders) - 1
	switch {
	case len(names) == 0 || name <= n.page.After:
	case last >= 0 && n.folders[last].Name == name:
		n.folders[last].Secrets += len(names)
	case len(n.folders) <= n.page.Limit:
		n.folders = append(n.folders, Child{name, len(names)})
	}
}

// all returns the entries in order, more than a page if another one follows.
func (n *counter) all() []Child {
	all := make([]Child, 0, len(n.folders)+len(n.secrets))
	all = append(all, n.folders...)
	for _, name := range n.secrets {
		all = append(all, Child{Name: name})
	}
	slices.SortFunc(all, func(a, b Child) int { return strings.Compare(a.Name, b.Name) })
	return all
}
