package api

import (
	"context"

	"secretstore/api/internal/body"
	"secretstore/api/internal/pool"
)

// answerMemory is what the answer to a request that reads a secret claims of the
// budget. A client that reads slowly holds no more than its share.
type answerMemory struct {
	budget  *body.Budget
	who     pool.Principal
	parts   []*pool.Part
	claimed int64
}

// memoryFor returns the memory for the answer to x. It is given back when that
// has been sent, or given up.
func memoryFor(x *exchange, budget *body.Budget) *answerMemory {
	m := &answerMemory{budget: budget, who: pool.Of(x.who.principal)}
	x.out.atEnd(m.release)
	return m
}

// await claims so much in all, and waits for it.
func (m *answerMemory) await(ctx context.Context, size int64) error {
	return m.claim(size, func(who pool.Principal, more int64) (*pool.Part, error) { return m.budget.Reserve(ctx, who, more) })
}

// try is await without waiting.
func (m *answerMemory) try(size int64) error { return m.claim(size, m.budget.TryReserve) }

func (m *answerMemory) claim(size int64, reserve func(pool.Principal, int64) (*pool.Part, error)) error {
	if size <= body.Small || size <= m.claimed {
		return nil
	}
	part, err := reserve(m.who, size-m.claimed)
	if err != nil {
		return err
	}
	m.parts, m.claimed = append(m.parts, part), size
	return nil
}

// release gives back what was claimed.
func (m *answerMemory) release() {
	for _, p := range m.parts {
		p.Release()
	}
	m.parts, m.claimed = nil, 0
}
