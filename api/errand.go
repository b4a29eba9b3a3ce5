package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/api/definition"
	"secretstore/api/wire"
	"secretstore/seal"
)

const (
	// definitionBody bounds the body that holds definitions.
	definitionBody = 1 << 20
	// errandReads is how many secrets one request reads at once.
	errandReads = 8
	// errandBytes is how many bytes of values an answer may hold, where the
	// largest secret is not larger than half of that.
	errandBytes = 8 << 20
)

const textDefinitionType = "unsupported Content-Type: send definitions as application/json (with curl: -H 'Content-Type: application/json')"

// errand is what POST /resolve and POST /check have in common: definitions,
// what is decided about them, and the secrets that they want.
type errand struct {
	defs    []definition.Definition
	several bool // an array was sent
	reads   []*errandRead
	byKey   map[errandKey]*errandRead
	// claim takes, once, the part of the budget of answers that an errand may need
	// which is not small, before it has what that is for.
	claim func() error
}

type errandKey struct {
	service acl.Service
	path    acl.Path
}

// errandRead is a decision within an errand, which has an audit line of its own:
// about one secret that a service wants, and what came of it. In an array the
// decision about each service is one too; it has no path.
type errandRead struct {
	errandKey
	decision acl.Decision
	// The rest is set by fetch, in the goroutine of this read.
	missing   bool
	malformed bool // its name says base64, its value is none
	value     deliverable
	age       time.Duration
}

// deliverable is a value as a task gets it.
type deliverable struct {
	data []byte
	// text: stored as text, and not decoded.
	text bool
	etag string
}

func (e *errand) read(d *definition.Definition, s definition.Secret) *errandRead {
	return e.byKey[errandKey{d.Service, s.Path}]
}

// startErrand reads the body and decides: about each definition whether the
// caller may ask for its service, then about each secret whether the service may
// have it. No secret is looked at here, so that neither a refusal nor its time
// tells whether one exists.
func (s *Server) startErrand(c *call) (*errand, error) {
	e, err := s.readDefinitions(c)
	if err != nil {
		return nil, err
	}
	e.claim = sync.OnceValue(func() error {
		limit := s.errandLimit()
		return s.bodies.reserve(c, limit+limit*4/3) // the values, and base64 of them
	})
	policy := s.policy()
	for i := range e.defs {
		if err := c.permit(policy, &e.defs[i], e.several); err != nil {
			return nil, err
		}
	}
	for i := range e.defs {
		d := &e.defs[i]
		for _, w := range d.Wanted() {
			key := errandKey{d.Service, w.Path}
			if e.byKey[key] != nil || !w.Valid() {
				continue
			}
			r := &errandRead{errandKey: key}
			r.decision = policy.Decide(c.principal, acl.Request{Op: acl.ReadSecret, Path: w.Path, Service: d.Service, HasService: true})
			e.byKey[key] = r
			e.reads = append(e.reads, r)
			c.others = append(c.others, r)
		}
	}
	return e, nil
}

func (s *Server) readDefinitions(c *call) (*errand, error) {
	if err := jsonOnly(c.r.Header); err != nil {
		return nil, err
	}
	body, release, err := s.readBody(c, definitionBody, "the body is too large: send fewer definitions at once")
	if err != nil {
		return nil, err
	}
	defer release()
	e := &errand{byKey: make(map[errandKey]*errandRead)}
	e.defs, e.several, err = definition.Parse(body)
	var refused *definition.Error
	if errors.As(err, &refused) {
		return nil, badRequest(refused.Error())
	}
	return e, err
}

// jsonOnly refuses all bodies that are not JSON; curl -d calls its own a form.
func jsonOnly(h http.Header) error {
	form, err := contentType(h)
	var refused *problem
	if err == nil && form != wire.TypeJSON || errors.As(err, &refused) && refused.text == textType {
		return badRequest(textDefinitionType)
	}
	return err
}

// permit decides whether the caller may ask for the service of d. The decision
// about the only definition, or about one that is refused, is that of the
// request.
func (c *call) permit(policy *acl.Policy, d *definition.Definition, several bool) error {
	var paths []acl.Path
	for _, w := range d.Wanted() {
		if w.Valid() {
			paths = append(paths, w.Path)
		}
	}
	decision := policy.DecideResolve(c.principal, d.Service, paths)
	if several && decision.Allowed {
		c.others = append(c.others, &errandRead{errandKey: errandKey{service: d.Service}, decision: decision})
		return nil
	}
	c.service, c.hasService, c.decision = d.Service, true, decision
	if decision.Allowed {
		return nil
	}
	return forbidden(decision)
}

// fetch reads the secrets that the services may have, some at a time. Of a
// secret that is missing or malformed it takes note; all else that goes wrong
// is an error. each is called with what was read, by several goroutines, and its
// error ends the errand.
func (s *Server) fetch(c *call, e *errand, each func(*errandRead) error) (age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), storageAllowance(s.errandLimit(), readRate))
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(errandReads)
	for _, r := range e.reads {
		if !r.decision.Allowed {
			continue
		}
		group.Go(func() (err error) {
			// What ServeHTTP makes of a panic, here where it cannot see it.
			defer func() {
				if v := recover(); v != nil {
					err = panicError(v)
				}
			}()
			secret, err := s.store.GetBounded(ctx, r.path, consistency(c.r.Header), e.claim)
			switch {
			case errors.Is(err, seal.ErrNotFound):
				r.missing = true
				return nil
			case err != nil:
				return err
			}
			r.take(&secret)
			return each(r)
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	for _, r := range e.reads {
		age = max(age, r.age)
	}
	return age, nil
}

// take makes of a secret what is delivered.
func (r *errandRead) take(secret *seal.Secret) {
	r.age = secret.Age
	r.value = deliverable{data: secret.Value, text: secret.Kind == seal.Text, etag: etagOf(secret.ID)}
	if !(definition.Secret{Path: r.path}).Encoded() {
		return
	}
	r.value.text = false
	plain := make([]byte, base64.StdEncoding.DecodedLen(len(secret.Value)))
	n, err := base64.StdEncoding.Decode(plain, secret.Value)
	r.value.data, r.malformed = plain[:n], err != nil
}

// errandLimit is how many bytes of values one answer may hold.
func (s *Server) errandLimit() int64 { return max(errandBytes, 2*s.store.MaxSecretSize()) }

// bounded refuses more than limit bytes of values at once, before all of them
// are in memory.
func (e *errand) bounded(limit int64) func(*errandRead) error {
	var total atomic.Int64
	return func(r *errandRead) error {
		switch n := total.Add(int64(len(r.value.data))); {
		case n > limit:
			return tooMuch(limit)
		case n > smallPart:
			return e.claim()
		}
		return nil
	}
}

func tooMuch(limit int64) *problem {
	return unprocessable(fmt.Sprintf("the secrets are more than %d bytes together: ask for fewer definitions at once, or read large secrets one by one", limit))
}

func unprocessable(text string) *problem {
	return &problem{status: http.StatusUnprocessableEntity, text: text}
}
