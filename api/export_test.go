package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"secretstore/acl"
	"secretstore/api/internal/body"
	"secretstore/api/internal/pool"
	"secretstore/api/wire"
)

// Waiting is how many requests wait for a change.
func (s *Server) Waiting() int { return s.watches.Count() }

// TakeAnswers leaves nothing of the budget of answers to other users.
func (s *Server) TakeAnswers(ctx context.Context) (release func(), err error) {
	var parts []*pool.Part
	release = func() {
		for _, p := range parts {
			p.Release()
		}
	}
	for i := range 8 {
		part, err := s.budget.Reserve(ctx, pool.Of(acl.Principal{UID: fmt.Sprint("greedy", i)}), body.BudgetBytes/8)
		if err != nil {
			release()
			return nil, err
		}
		parts = append(parts, part)
	}
	return release, nil
}

// TakeBodies leaves nothing of the budget of bodies to other users, or returns
// an error if they keep a part of it.
func (s *Server) TakeBodies(ctx context.Context) (release func(), err error) {
	var all []func()
	release = func() {
		for _, f := range all {
			f()
		}
	}
	for i := range 8 {
		r := httptest.NewRequestWithContext(ctx, http.MethodPut, "/", nil)
		r.ContentLength = body.BudgetBytes / 8
		who := pool.Of(acl.Principal{UID: fmt.Sprint("greedy", i)})
		_, f, err := s.budget.Read(body.Of(httptest.NewRecorder(), r), who, body.Limit{Bytes: body.BudgetBytes})
		if err != nil {
			release()
			return nil, err
		}
		all = append(all, f)
	}
	return release, nil
}

// Change is an endpoint that changes the store.
type Change struct {
	Name, Method, Path, Effect string
	Brake, Shares              bool
}

// Changes returns all endpoints that may change the store, as far as their
// method says.
func Changes() (all []Change) {
	for _, ep := range endpoints(&handlers{}) {
		if ep.method != http.MethodGet && !ep.reads && !ep.identities {
			all = append(all, Change{ep.name, ep.method, wire.BasePath + ep.path, ep.effect, ep.brake, ep.shares})
		}
	}
	return all
}
