package api

import (
	"net/http"
	"sync"

	"secretstore/acl"
	"secretstore/api/internal/problem"
)

// The bounds on requests that wait for a change. One costs its connection, about
// 40 KB; the bound of a user leaves room for the others.
const (
	maxWatches     = 8192
	maxUserWatches = 4096
)

const (
	textShutdown    = "this server stops: ask another one, or the same again in a moment"
	textManyWatches = "too many watches on this server: try again later, or ask another server"
	textYourWatches = "too many watches by this user: end some, or watch a folder with GET /secrets/v1/watch/default"
)

// watchLimits counts the requests that wait for a change, and ends them when the
// server stops.
type watchLimits struct {
	ending chan struct{} // closed by end
	once   sync.Once

	mu     sync.Mutex
	total  int             // guarded by mu
	byUser map[watcher]int // guarded by mu
}

// watcher is a user or, of tokens that are bound to services, one service: all
// task tokens that a scheduler has had made are in its name, and the tasks of one
// service must not use up the watches of the others.
type watcher struct {
	uid     string
	service acl.Binding
}

func watcherOf(who acl.Principal) watcher { return watcher{who.UID, who.Service} }

func newWatchLimits() *watchLimits {
	return &watchLimits{ending: make(chan struct{}), byUser: make(map[watcher]int)}
}

// enter counts one more watch, until leave is called.
func (l *watchLimits) enter(who watcher) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.total >= maxWatches:
		return nil, problem.Busy(textManyWatches)
	case l.byUser[who] >= maxUserWatches:
		return nil, &problem.Problem{Status: http.StatusTooManyRequests, Retry: true, Text: textYourWatches}
	}
	l.total++
	l.byUser[who]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		if l.byUser[who]--; l.byUser[who] == 0 {
			delete(l.byUser, who)
		}
	}, nil
}

// count returns the number of watches.
func (l *watchLimits) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

func (l *watchLimits) end() { l.once.Do(func() { close(l.ending) }) }

// stopping is the answer of a server that stops.
func stopping() *problem.Problem { return problem.Busy(textShutdown) }
