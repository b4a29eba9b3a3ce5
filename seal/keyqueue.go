package seal

import (
	"context"
	"hash/maphash"

	"secretstore/store"
)

// keyQueue lets the writers of one key go one after another: their conditional
// writes would only make each other fail. It is held over I/O, so it is made of
// channels: whoever waits leaves at the deadline. Two keys may share a place in
// the queue; that costs time, not correctness.
type keyQueue struct {
	seed   maphash.Seed
	places []chan struct{}
}

const keyQueuePlaces = 512

func newKeyQueue() keyQueue {
	q := keyQueue{seed: maphash.MakeSeed(), places: make([]chan struct{}, keyQueuePlaces)}
	for i := range q.places {
		q.places[i] = make(chan struct{}, 1)
	}
	return q
}

// enter waits for the turn of key and returns what ends it.
func (q *keyQueue) enter(ctx context.Context, key store.Key) (leave func(), err error) {
	place := q.places[maphash.String(q.seed, key)%keyQueuePlaces]
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-ctx.Done():
		return nil, store.ErrUnavailable
	}
}
