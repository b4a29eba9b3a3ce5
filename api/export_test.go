package api

import (
	"context"

	"secretstore/api/internal/body"
)

// Waiting is how many requests wait for a change.
func (s *Server) Waiting() int { return s.watches.Count() }

// TakeAnswers leaves nothing of the budget of answers to others.
func (s *Server) TakeAnswers(ctx context.Context) (release func(), err error) {
	all, err := s.budget.Reserve(ctx, body.BudgetBytes)
	return all.Release, err
}
