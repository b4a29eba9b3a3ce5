// Package body reads the bodies of requests in bounded memory and time.
//
// All large bodies of a server share one pool of bytes. The large answers, those
// of small requests among them, have another: a client that reads its answer
// slowly must not keep others from writing. The bodies of strangers have a third,
// however small they are.
package body

import (
	"context"
	"errors"
	"time"

	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
)

const (
	// BudgetBytes bounds the bodies of users in memory at once. As much again is
	// for large answers, and as much as both for bound tokens.
	BudgetBytes = 256 << 20
	// budgetWait is how long a request waits for its part of a pool.
	budgetWait = 4 * time.Second
	// Small is the size up to which bodies and answers of users are free, in
	// bytes: an unseal does not wait for large values.
	Small = 64 << 10
)

const (
	textBusy  = "too many large requests at once: try again later"
	textShare = "too many large requests of this user at once: try again when the others have ended"
)

// Budget bounds the memory of bodies and answers. Make it with NewBudget.
type Budget struct {
	bodies, answers *pool.Pool
	strangers       *strangers
}

// NewBudget returns a budget. A body or an answer of the given size fits into
// the share of one principal.
func NewBudget(largest int64) *Budget {
	return &Budget{pool.New(BudgetBytes, largest), pool.New(BudgetBytes, largest), &strangers{free: StrangersBytes}}
}

// Reserve takes a part of the budget for an answer and what it is made of. It
// returns a 503 if there is none for budgetWait, or if the principal has its
// share.
func (b *Budget) Reserve(ctx context.Context, who pool.Principal, size int64) (*pool.Part, error) {
	return take(ctx, b.answers, who, size)
}

// TryReserve is Reserve without waiting.
func (b *Budget) TryReserve(who pool.Principal, size int64) (*pool.Part, error) {
	part, err := b.answers.TryTake(who, size)
	return part, busy(err)
}

func take(ctx context.Context, from *pool.Pool, who pool.Principal, size int64) (*pool.Part, error) {
	ctx, cancel := context.WithTimeout(ctx, budgetWait)
	defer cancel()
	part, err := from.Take(ctx, who, size)
	return part, busy(err)
}

func busy(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pool.ErrShare):
		return problem.Busy(textShare)
	}
	return problem.Busy(textBusy)
}
