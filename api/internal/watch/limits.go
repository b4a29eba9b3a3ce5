// Package watch holds what requests that wait for changes need besides the
// store: their limits, their parameters, and the form of the events of a
// stream.
package watch

import (
	"net/http"
	"sync"

	"secretstore/acl"
	"secretstore/api/internal/problem"
)

// The bounds on requests that wait for a change. One costs its connection,
// about 40 KB; the bound of a user leaves room for the others.
const (
	maxWatches     = 8192
	maxUserWatches = 4096
)

const (
	textShutdown    = "this server stops: ask another one, or the same again in a moment"
	textManyWatches = "too many watches on this server: try again later, or ask another server"
	textYourWatches = "too many watches by this user: end some, or watch a folder with GET /secrets/v1/watch/default"
)

// Limits counts the requests that wait for a change, and ends them when the
// server stops.
type Limits struct {
	ending chan struct{} // closed by End
	once   sync.Once

	mu     sync.Mutex
	total  int             // guarded by mu
	byUser map[Watcher]int // guarded by mu
}

// Watcher is a user or, of tokens that are bound to services, one service: all
// task tokens that a scheduler has had made are in its name, and the tasks of
// one service must not use up the watches of the others.
type Watcher struct {
	uid     string
	service acl.Binding
}

func ByPrincipal(who acl.Principal) Watcher { return Watcher{who.UID, who.Service} }

// NewLimits returns the limits of a server.
func NewLimits() *Limits {
	return &Limits{ending: make(chan struct{}), byUser: make(map[Watcher]int)}
}

// Enter counts one more watch, until leave is called. It is a 503 or a 429 if
// there are too many.
func (l *Limits) Enter(who Watcher) (leave func(), err error) {
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

// Count returns the number of watches.
func (l *Limits) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// End makes Ending ready.
func (l *Limits) End() { l.once.Do(func() { close(l.ending) }) }

// Ending returns a channel that is closed when the server stops. All requests
// that wait are then answered with Stopping.
func (l *Limits) Ending() <-chan struct{} { return l.ending }

// Stopping is the answer of a server that stops.
func Stopping() *problem.Problem { return problem.Busy(textShutdown) }
