// Package body reads the bodies of requests in bounded memory and time.
//
// All large bodies of a server share one budget of bytes. The answers that
// small requests can make large have another: a client that reads its answer
// slowly must not keep others from writing.
package body

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"secretstore/api/internal/problem"
)

const (
	// BudgetBytes bounds all bodies in memory at once, and as much again is for
	// large answers.
	BudgetBytes = 512 << 20
	// budgetWait is how long a request waits for its part of a budget.
	budgetWait = 4 * time.Second
	// Small is the size up to which bodies and answers are free, in bytes. It
	// is less than their connection costs, and an unseal does not wait for
	// large values.
	Small = 64 << 10
)

const textBusy = "too many large requests at once: try again later"

// Budget bounds the memory of bodies and answers. Make it with NewBudget.
type Budget struct {
	bodies, answers *semaphore.Weighted
}

// NewBudget returns a budget that holds two bodies of the given size at least.
func NewBudget(largest int64) *Budget {
	size := max(BudgetBytes, 2*largest)
	return &Budget{semaphore.NewWeighted(size), semaphore.NewWeighted(size)}
}

// Reservation is a part of the budget of answers.
type Reservation struct {
	of   *semaphore.Weighted
	size int64
}

// Reserve takes a part of the budget for an answer and what it is made of, or
// returns a 503 if there is none for budgetWait.
func (b *Budget) Reserve(ctx context.Context, size int64) (*Reservation, error) {
	if err := acquire(ctx, b.answers, size); err != nil {
		return nil, err
	}
	return &Reservation{b.answers, size}, nil
}

// Shrink gives back all but size. A nil Reservation has nothing to give back.
func (r *Reservation) Shrink(size int64) {
	if r != nil && r.size > size {
		r.of.Release(r.size - size)
		r.size = size
	}
}

// Release gives back the rest.
func (r *Reservation) Release() { r.Shrink(0) }

func acquire(ctx context.Context, from *semaphore.Weighted, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, budgetWait)
	defer cancel()
	if from.Acquire(ctx, size) != nil {
		return problem.Busy(textBusy)
	}
	return nil
}
