package api

import (
	"net/http"
	"sync"
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
	byUID map[string]int // guarded by mu
}

func newWaits() *waits { return &waits{ending: make(chan struct{}), byUID: make(map[string]int)} }

// enter counts one more of uid's, until leave is called.
func (w *waits) enter(uid string) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.total >= maxWaits:
		return nil, &problem{status: http.StatusServiceUnavailable, retry: true, text: textManyWatches}
	case w.byUID[uid] >= maxUserWaits:
		return nil, &problem{status: http.StatusTooManyRequests, retry: true, text: textYourWatches}
	}
	w.total++
	w.byUID[uid]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.total--
		if w.byUID[uid]--; w.byUID[uid] == 0 {
			delete(w.byUID, uid)
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
