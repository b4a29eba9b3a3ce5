package api

import (
	"context"
	"net/http"
	"net/http/httptest"

	"secretstore/api/internal/body"
	"secretstore/api/wire"
)

// Waiting is how many requests wait for a change.
func (s *Server) Waiting() int { return s.watches.Count() }

// TakeAnswers leaves nothing of the budget of answers to others.
func (s *Server) TakeAnswers(ctx context.Context) (release func(), err error) {
	all, err := s.budget.Reserve(ctx, body.BudgetBytes)
	return all.Release, err
}

// TakeBodies leaves nothing of the budget of bodies to others, or returns an
// error if they keep a part of it.
func (s *Server) TakeBodies(ctx context.Context) (release func(), err error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPut, "/", nil)
	r.ContentLength = body.BudgetBytes
	_, release, err = s.budget.Read(body.Of(httptest.NewRecorder(), r), body.Limit{Bytes: body.BudgetBytes})
	return release, err
}

// Change is an endpoint that changes the store.
type Change struct {
	Name, Method, Path, Effect string
	Brake                      bool
}

// Changes returns all endpoints that may change the store, as far as their
// method says.
func Changes() (all []Change) {
	for _, ep := range endpoints(&handlers{}) {
		if ep.method != http.MethodGet && !ep.reads {
			all = append(all, Change{ep.name, ep.method, wire.BasePath + ep.path, ep.effect, ep.brake})
		}
	}
	return all
}
