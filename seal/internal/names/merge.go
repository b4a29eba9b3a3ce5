package names

import (
	"context"
	"slices"
	"strings"
)

// merge sorts the names of many folders: bytewise, as whole names (`a`, `a-b`,
// `a/x`). A folder is read only when its first name may be the next, so that
// only a few folders, and those above them, are in memory at once. It belongs
// to one goroutine.
type merge struct {
	source  *Folders
	reading reading
	cut     int    // length of the listed folder's prefix
	after   string // see Page
	folders []folder
	ready   []*folderNames // of the first folders, which have been read
	batch   int            // how many are read at once
	open    []cursor
	damaged int // records that were skipped
}

// cursor is the position in the names of one folder.
type cursor struct {
	prefix string
	head   string   // the next name, with prefix
	names  []string // those after head, without prefix
}

// advance moves to the next name. It is not ok at the end.
func (c *cursor) advance() (ok bool) {
	if len(c.names) == 0 {
		return false
	}
	c.head, c.names = c.prefix+c.names[0], c.names[1:]
	return true
}

// newMerge merges folders, which are sorted by their prefixes, for a list of
// the folder with this prefix.
func newMerge(source *Folders, folders []folder, prefix, after string, r reading) *merge {
	m := &merge{source: source, reading: r, cut: len(prefix), after: after, batch: 1, folders: folders}
	if m.after != "" {
		m.folders = slices.DeleteFunc(slices.Clone(folders), func(f folder) bool {
			prefix := m.prefix(f) // all of its names precede after, unless:
			return prefix < m.after && !strings.HasPrefix(m.after, prefix)
		})
	}
	return m
}

func (m *merge) prefix(f folder) string { return f.prefix[m.cut:] }

// next returns the next n names, or fewer at the end.
func (m *merge) next(ctx context.Context, n int) ([]string, error) {
	names := []string{}
	for len(names) < n {
		first := m.first()
		if len(m.folders) > 0 && (first < 0 || m.prefix(m.folders[0]) < m.open[first].head) {
			if err := m.openNext(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if first < 0 {
			break
		}
		names = m.appendRun(names, first, n-len(names))
	}
	return names, nil
}

// appendRun appends names of the folder at index first in open: at least its
// head, at most n, and none that follows a name of another folder.
func (m *merge) appendRun(names []string, first, n int) []string {
	c := &m.open[first]
	count := len(c.names)
	for i := range m.open {
		if i != first {
			count = min(count, c.upTo(m.open[i].head))
		}
	}
	if len(m.folders) > 0 {
		count = min(count, c.upTo(m.prefix(m.folders[0])))
	}
	count = min(count, n-1)
	names = append(slices.Grow(names, count+1), c.head)
	names = appendPrefixed(names, c.prefix, c.names[:count])
	c.names = c.names[count:]
	if !c.advance() {
		m.open = slices.Delete(m.open, first, first+1)
	}
	return names
}

// upTo returns how many of the names after head do not follow limit.
func (c *cursor) upTo(limit string) int {
	rest, within := strings.CutPrefix(limit, c.prefix)
	switch {
	case !within && limit < c.prefix:
		return 0
	case !within:
		return len(c.names)
	}
	n, found := slices.BinarySearch(c.names, rest)
	if found {
		n++
	}
	return n
}

// appendPrefixed appends the prefix followed by each of the names. They share
// one allocation: a list has tens of thousands.
func appendPrefixed(to []string, prefix string, names []string) []string {
	if prefix == "" {
		return append(to, names...)
	}
	size := 0
	for _, name := range names {
		size += len(prefix) + len(name)
	}
	var all strings.Builder
	all.Grow(size)
	for _, name := range names {
		all.WriteString(prefix)
		all.WriteString(name)
	}
	text := all.String()
	for _, name := range names {
		n := len(prefix) + len(name)
		to = append(to, text[:n])
		text = text[n:]
	}
	return to
}

// first returns the index in open of the smallest name, -1 for none. At most as
// many folders are open as a path has components: siblings do not overlap.
func (m *merge) first() int {
	first := -1
	for i := range m.open {
		if first < 0 || m.open[i].head < m.open[first].head {
			first = i
		}
	}
	return first
}

// openNext opens the first folder.
func (m *merge) openNext(ctx context.Context) error {
	if len(m.ready) == 0 {
		if err := m.read(ctx); err != nil {
			return err
		}
	}
	f, names := m.folders[0], m.ready[0]
	m.folders, m.ready = m.folders[1:], m.ready[1:]
	m.damaged += names.found.Damaged
	c := cursor{prefix: m.prefix(f), names: names.sorted}
	if rest, within := strings.CutPrefix(m.after, c.prefix); within {
		from, found := slices.BinarySearch(c.names, rest)
		if found {
			from++
		}
		c.names = c.names[from:]
	}
	if c.advance() {
		m.open = append(m.open, c)
	}
	return nil
}

// read reads the next folders: twice as many each time, so that a short page
// reads few that it does not need.
func (m *merge) read(ctx context.Context) error {
	batch := m.folders[:min(m.batch, len(m.folders))]
	m.batch = min(2*m.batch, listReaders)
	var err error
	m.ready, err = m.source.namesOfAll(ctx, batch, m.reading)
	return err
}
