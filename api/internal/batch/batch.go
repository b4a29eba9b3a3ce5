// Package batch answers POST /resolve and POST /check: it reads the secrets
// that the tasks of one or several definitions need.
//
// A batch is parsed, authorized, and then read, in this order. Authorize
// decides about each definition and each secret before any secret is read, so
// that neither a refusal nor the time it takes tells whether a secret exists.
package batch

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/api/definition"
	"secretstore/api/internal/body"
	"secretstore/api/internal/head"
	"secretstore/api/internal/pool"
	"secretstore/api/internal/problem"
	"secretstore/seal"
	"secretstore/store"
)

const (
	// readsAtOnce is how many secrets one batch reads at the same time.
	readsAtOnce = 8
	// answerBytes is how many bytes of values an answer may hold, unless the
	// largest secret is larger than half of that.
	answerBytes = 8 << 20
)

// Batch is some definitions, and the secrets that they need.
type Batch struct {
	// Reads are the decisions about definitions and secrets; each has an audit
	// line. Authorize sets them.
	Reads []*Read

	defs    []definition.Definition
	several bool // an array was sent
	secrets []*Read
	byKey   map[key]*Read
}

// key is a secret that a service needs.
type key struct {
	service acl.Service
	path    acl.Path
}

// Read is one secret that a service needs, the decision about it, and its
// value. The decision about a definition of an array is a Read without a path.
type Read struct {
	Service  acl.Service
	Path     acl.Path
	Decision acl.Decision
	// Missing: the secret does not exist.
	Missing bool

	// malformed: the name says that the value is base64, and it is not.
	malformed bool
	value     value
	age       time.Duration
}

// value is a value as a task gets it.
type value struct {
	data []byte
	text bool // stored as text, and not decoded
	etag string
}

// Clear overwrites the values that were read.
func (b *Batch) Clear() {
	for _, r := range b.Reads {
		clear(r.value.data)
	}
}

// Parse reads the body of a request. What is wrong with it is a 400.
func Parse(body []byte) (*Batch, error) {
	b := &Batch{byKey: make(map[key]*Read)}
	var err error
	b.defs, b.several, err = definition.Parse(body)
	var refused *definition.Error
	if errors.As(err, &refused) {
		return nil, problem.BadRequest(refused.Error())
	}
	return b, err
}

// Authorize decides for each definition whether the principal may fetch secrets
// for its service, and then for each secret whether the service may have it. It
// returns the decision about the only definition, or about the first that is
// denied, with its service; of is nil for an array that is allowed.
func (b *Batch) Authorize(policy *acl.Policy, who acl.Principal) (of *acl.Service, d acl.Decision) {
	for i := range b.defs {
		def := &b.defs[i]
		d = policy.DecideResolve(who, def.Service, pathsOf(def))
		if !d.Allowed || !b.several {
			of = &def.Service
		}
		if !d.Allowed {
			return of, d
		}
		if b.several {
			b.Reads = append(b.Reads, &Read{Service: def.Service, Decision: d})
		}
	}
	for i := range b.defs {
		b.authorizeSecrets(policy, who, &b.defs[i])
	}
	return of, d
}

func pathsOf(def *definition.Definition) (paths []acl.Path) {
	for _, w := range def.Wanted() {
		if w.Valid() {
			paths = append(paths, w.Path)
		}
	}
	return paths
}

func (b *Batch) authorizeSecrets(policy *acl.Policy, who acl.Principal, def *definition.Definition) {
	for _, path := range pathsOf(def) {
		k := key{def.Service, path}
		if b.byKey[k] != nil {
			continue
		}
		r := &Read{Service: def.Service, Path: path}
		r.Decision = policy.Decide(who, acl.Request{Op: acl.ReadSecret, Path: path, Service: def.Service, HasService: true})
		b.byKey[k] = r
		b.secrets = append(b.secrets, r)
		b.Reads = append(b.Reads, r)
	}
}

func (b *Batch) read(def *definition.Definition, s definition.Secret) *Read {
	return b.byKey[key{def.Service, s.Path}]
}

// Source is where a batch reads secrets, and the memory that it may use.
type Source struct {
	Store       *seal.Store
	Consistency store.Consistency
	Budget      *body.Budget
	Principal   pool.Principal // whose share of the budget it is

	once     sync.Once
	reserved *pool.Part // set by once; nil until it is needed
	err      error      // set by once
}

// Release gives back the batch's part of the budget, once the answer is sent.
func (s *Source) Release() { s.reserved.Release() }

// claim takes the batch's part of the budget of answers, before it needs more
// than body.Small bytes.
func (s *Source) claim(ctx context.Context) error {
	s.once.Do(func() {
		limit := s.Limit()
		s.reserved, s.err = s.Budget.Reserve(ctx, s.Principal, limit+limit*4/3) // the values, and base64 of them
	})
	return s.err
}

// Limit is how many bytes of values one answer may hold.
func (s *Source) Limit() int64 { return max(answerBytes, 2*s.Store.MaxSecretSize()) }

// fetch reads the secrets that the services may have. A missing or malformed
// secret is noted; any other failure is an error. Several goroutines call each
// after a read, and its error ends the batch.
func (b *Batch) fetch(ctx context.Context, from *Source, each func(context.Context, *Read) error) (age time.Duration, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	for _, r := range b.secrets {
		if !r.Decision.Allowed {
			continue
		}
		group.Go(func() (err error) {
			// The server recovers from panics only in its own goroutine.
			defer func() {
				if v := recover(); v != nil {
					err = problem.Panic(v)
				}
			}()
			secret, err := from.Store.Read(ctx, r.Path, from.Consistency, seal.ReadOptions{Admit: func(int64) error { return from.claim(ctx) }})
			switch {
			case errors.Is(err, seal.ErrNotFound):
				r.Missing = true
				return nil
			case err != nil:
				return err
			}
			r.take(&secret)
			return each(ctx, r)
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	for _, r := range b.secrets {
		age = max(age, r.age)
	}
	return age, nil
}

// take keeps what a task gets of a secret.
func (r *Read) take(secret *seal.Secret) {
	r.age = secret.Age
	r.value = value{data: secret.Value, text: secret.Kind == seal.Text, etag: head.ETag(secret.ID)}
	if !(definition.Secret{Path: r.Path}).Encoded() {
		return
	}
	r.value.text = false
	plain := make([]byte, base64.StdEncoding.DecodedLen(len(secret.Value)))
	n, err := base64.StdEncoding.Decode(plain, secret.Value)
	clear(secret.Value)
	r.value.data, r.malformed = plain[:n], err != nil
}

// bounded returns a function for fetch that refuses more than limit bytes of
// values, before all of them are in memory.
func (s *Source) bounded() func(context.Context, *Read) error {
	limit := s.Limit()
	var total atomic.Int64
	return func(ctx context.Context, r *Read) error {
		switch n := total.Add(int64(len(r.value.data))); {
		case n > limit:
			return tooMuch(limit)
		case n > body.Small:
			return s.claim(ctx)
		}
		return nil
	}
}

func tooMuch(limit int64) error {
	return problem.Unprocessable(fmt.Sprintf("the secrets are more than %d bytes together: ask for fewer definitions at once, or read large secrets one by one", limit))
}
