package changes

import (
	"sync"

	"secretstore/store"
)

// Log keeps what servers have published, for a reader that looks at their change
// records too rarely to find all of it there. The zero Log is empty.
type Log struct {
	mu   sync.Mutex
	runs map[string]run // by the name of the change record; guarded by mu
}

// run is what a server has published without a gap: ids after the first `after`
// ones.
type run struct {
	after uint64
	ids   []store.ID
}

func (r run) end() uint64 { return r.after + uint64(len(r.ids)) }

// Add adds the ids that a server has published after the first `after` ones.
func (l *Log) Add(name string, after uint64, ids []store.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs == nil {
		l.runs = make(map[string]run)
	}
	r, known := l.runs[name]
	if !known || r.end() != after {
		r = run{after: after}
	}
	r.ids = append(r.ids, ids...)
	l.runs[name] = r
}

// Between returns the ids that a server has published after the first `after` ones,
// up to that with the number `until`. It is not ok if some of them are not known.
func (l *Log) Between(name string, after, until uint64) (ids []store.ID, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, known := l.runs[name]
	if !known || after < r.after || until < after || until > r.end() {
		return nil, false
	}
	return append([]store.ID(nil), r.ids[after-r.after:until-r.after]...), true
}

// Forget drops what is not needed after so many ids of each server have been read, and
// all of the other servers.
func (l *Log) Forget(read map[string]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, r := range l.runs {
		until, still := read[name]
		if !still {
			delete(l.runs, name)
			continue
		}
		if until > r.after {
			drop := min(until-r.after, uint64(len(r.ids)))
			l.runs[name] = run{r.after + drop, append([]store.ID(nil), r.ids[drop:]...)}
		}
	}
}
