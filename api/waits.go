package api

import (
	"net/http"
	"sync"

	"secretstore/acl"
)

// The bounds on requests that wait for a change. One costs its connection, some
// 40 KB; the bound of a user leaves room for the others.
const (
	maxWaits     = 8192
	maxUserWaits = 4096
)

// waits counts the requests that wait, and ends them when the server stops.
type waits struct {
	ending chan struct{} // closed by end
	once   sync.Once

	mu    sync.Mutex
	total int            // guarded by mu
	byWho map[waiter]int // guarded by mu
}

// waiter is a user or, of the tokens that are bound to services, one service:
// all task tokens that a scheduler has had made are in its name, and the tasks
// of one service must not use up what the others have.
type waiter struct {
	uid     string
	service acl.Binding
}

func waiterOf(who acl.Principal) waiter { return waiter{who.UID, who.Service} }

func newWaits() *waits { return &waits{ending: make(chan struct{}), byWho: make(map[waiter]int)} }

// enter counts one more of who's, until leave is called.
func (w *waits) enter(who waiter) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.total >= maxWaits:
		return nil, &problem{status: http.StatusServiceUnavailable, retry: true, text: textManyWatches}
	case w.byWho[who] >= maxUserWaits:
		return nil, &problem{status: http.StatusTooManyRequests, retry: true, text: textYourWatches}
	}
	w.total++
	w.byWho[who]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.total--
		if w.byWho[who]--; w.byWho[who] == 0 {
			delete(w.byWho, who)
		}
	}, nil
}

// count is how many wait.
func (w *waits) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

func (w *waits) end() { w.once.Do(func() { close(w.ending) }) }

// EndWatches has all requests answered that wait for a change, and those that
// come later at once. Register it with http.Server.RegisterOnShutdown: Shutdown
// waits for requests, and these could last minutes.
func (s *Server) EndWatches() { s.waits.end() }
