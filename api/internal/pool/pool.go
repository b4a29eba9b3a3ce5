// Package pool divides what is scarce on a server (memory for bodies and answers,
// places to wait) among principals, so that none of them can take all of it.
//
// A pool has two parts: one for users, and one for tokens that are bound to a
// service. Many programs have such tokens, and an attacker may have taken over
// some. No principal has more than a share of its pool, an eighth as a rule.
package pool

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"

	"secretstore/acl"
)

// share is the part of a pool that one principal can have, as a divisor.
const share = 8

var (
	// ErrShare: the principal has its share, and asks for more.
	ErrShare = errors.New("this principal has its share")
	// ErrUsedUp: others have all of the pool.
	ErrUsedUp = errors.New("the pool is used up")
)

// Principal is a user or, of tokens that are bound to services, one service: all
// task tokens that a scheduler has had made are in its name, and the tasks of
// one service must not use up what the others need.
type Principal struct {
	uid     string
	service acl.Binding
}

// Of returns the principal of a token.
func Of(who acl.Principal) Principal { return Principal{who.UID, who.Service} }

// IsStranger reports whether it is nobody: a caller without a token, certificate or
// session.
func (p Principal) IsStranger() bool { return p.uid == "" }

func (p Principal) bound() bool {
	_, bound := p.service.Get()
	return bound
}

// Pool is a number of units, for users and again for bound tokens. Make it with
// New.
type Pool struct {
	share           int64
	users, services *semaphore.Weighted

	mu   sync.Mutex
	used int64                  // guarded by mu
	by   map[Principal]*account // those that have or want a part; guarded by mu
}

// account is the share of one principal.
type account struct {
	units *semaphore.Weighted
	refs  int // parts and requests for parts; guarded by Pool.mu
}

// New returns a pool of size units for users, and as many for bound tokens. A
// share is an eighth of that, or least if that is more, for a request that could
// not be served with less. There is room for two of these.
func New(size, least int64) *Pool {
	size = max(size, 2*least)
	return &Pool{
		share: max(size/share, least),
		users: semaphore.NewWeighted(size), services: semaphore.NewWeighted(size),
		by: make(map[Principal]*account),
	}
}

// Part is what a request has of a pool. It belongs to one goroutine.
type Part struct {
	pool *Pool
	who  Principal
	own  *account
	size int64
}

// Take takes n units, and waits for them until ctx ends: ErrShare or ErrUsedUp.
func (p *Pool) Take(ctx context.Context, who Principal, n int64) (*Part, error) {
	return p.take(who, n, func(s *semaphore.Weighted) bool { return s.Acquire(ctx, n) == nil })
}

// TryTake is Take without waiting.
func (p *Pool) TryTake(who Principal, n int64) (*Part, error) {
	return p.take(who, n, func(s *semaphore.Weighted) bool { return s.TryAcquire(n) })
}

// take takes from the share first: those who wait for more than that do not
// keep others from the pool.
func (p *Pool) take(who Principal, n int64, acquire func(*semaphore.Weighted) bool) (*Part, error) {
	own := p.enter(who)
	if !acquire(own.units) {
		p.leave(who, own)
		return nil, ErrShare
	}
	if !acquire(p.of(who)) {
		own.units.Release(n)
		p.leave(who, own)
		return nil, ErrUsedUp
	}
	p.count(n)
	return &Part{p, who, own, n}, nil
}

func (p *Pool) of(who Principal) *semaphore.Weighted {
	if who.bound() {
		return p.services
	}
	return p.users
}

func (p *Pool) enter(who Principal) *account {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := p.by[who]
	if own == nil {
		own = &account{units: semaphore.NewWeighted(p.share)}
		p.by[who] = own
	}
	own.refs++
	return own
}

func (p *Pool) leave(who Principal, own *account) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if own.refs--; own.refs == 0 {
		delete(p.by, who)
	}
}

func (p *Pool) count(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used += n
}

// Used returns how many units all have.
func (p *Pool) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// Shrink gives back all but size units. A nil Part has nothing to give back.
func (t *Part) Shrink(size int64) {
	if t == nil || t.size <= size {
		return
	}
	n := t.size - size
	t.size = size
	t.pool.of(t.who).Release(n)
	t.own.units.Release(n)
	t.pool.count(-n)
}

// Release gives the rest back. Further calls do nothing.
func (t *Part) Release() {
	if t == nil || t.own == nil {
		return
	}
	t.Shrink(0)
	t.pool.leave(t.who, t.own)
	t.own = nil
}
