// Package watch holds what requests that wait for changes need besides the
// store: their limits, their parameters, and the form of the events of a
// stream.
package watch

import (
	"errors"
	"sync"

	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
)

// maxWatches bounds the requests of users that wait for a change, and those of
// bound tokens. One costs its connection, about 40 KB. One principal can have an
// eighth.
const maxWatches = 16384

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
	places *pool.Pool
}

// NewLimits returns the limits of a server.
func NewLimits() *Limits {
	return &Limits{ending: make(chan struct{}), places: pool.New(maxWatches, 0)}
}

// Enter counts one more watch, until leave is called. It is a 503 if there are
// too many, and a 429 if the principal has too many.
func (l *Limits) Enter(who pool.Principal) (leave func(), err error) {
	place, err := l.places.TryTake(who, 1)
	switch {
	case errors.Is(err, pool.ErrShare):
		return nil, problem.TooMany(textYourWatches)
	case err != nil:
		return nil, problem.Busy(textManyWatches)
	}
	return place.Release, nil
}

// Count returns the number of watches.
func (l *Limits) Count() int { return int(l.places.Used()) }

// End makes Ending ready.
func (l *Limits) End() { l.once.Do(func() { close(l.ending) }) }

// Ending returns a channel that is closed when the server stops. All requests
// that wait are then answered with Stopping.
func (l *Limits) Ending() <-chan struct{} { return l.ending }

// Stopping is the answer of a server that stops.
func Stopping() *problem.Problem { return problem.Busy(textShutdown) }
