package barrier

import (
	"context"
	"hash/maphash"

	"secretstore/store"
)

// Queue lets requests for one key run one after another: their conditional
// writes would only make each other fail. It is held over I/O, so it is made of
// channels: those who wait give up at their deadline. Two keys may share a slot
// of the queue; that costs time, not correctness.
type Queue struct {
	seed  maphash.Seed
	slots []chan struct{}
}

const queueSlots = 512

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	q := &Queue{seed: maphash.MakeSeed(), slots: make([]chan struct{}, queueSlots)}
	for i := range q.slots {
		q.slots[i] = make(chan struct{}, 1)
	}
	return q
}

// Enter waits for the turn of key and returns a function that ends it.
// store.ErrUnavailable at the deadline.
func (q *Queue) Enter(ctx context.Context, key store.Key) (leave func(), err error) {
	slot := q.slots[maphash.String(q.seed, key)%queueSlots]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, store.ErrUnavailable
	}
}
