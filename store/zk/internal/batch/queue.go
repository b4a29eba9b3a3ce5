// Package batch forms ZooKeeper transactions out of the requests of several
// callers: Queue collects requests and decides which of them can share a
// transaction, and Builder makes the operations of one. It does no I/O; package
// zk sends the transactions and deals with their outcome.
//
// A Request is waiting, then sent, and sent or waiting again when it is repeated.
// From both its caller may leave:
//
//	waiting ── Send ──► sent ── Answer
//	   ▲  │              │ │
//	   │  └─ caller ─► left ◄─ caller, GiveUp: the outcome is unknown
//	   └──── Unsend ─────┘
package batch

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"secretstore/store"
	"secretstore/store/internal/local"
	"secretstore/store/zk/internal/tree"
)

// The bounds of a batch of writes. One request larger than that travels alone.
const (
	maxBytes = 256 << 10
	maxOps   = 512
	// maxScan bounds how many waiting requests are scanned for one batch.
	maxScan = 2048
)

// The states of a request. A caller whose time is up leaves: from waiting, it
// knows that its write will never happen; from sent, it does not know.
const (
	waiting = iota
	sent
	left
)

// Request is one call of Apply. Make it with NewRequest.
type Request struct {
	Ops []store.Op
	// Steps says how each operation is to be done. They belong to the committer
	// once it has taken the request.
	Steps []Step
	// Repairs is how often the request was sent again after a refusal. It belongs
	// to the committer.
	Repairs int

	bytes int
	state atomic.Int32
	done  chan result // gets one result
}

type result struct {
	versions []store.Version
	err      error
}

// Send moves r from waiting to sent. It is not ok if the caller has left.
func (r *Request) Send() bool { return r.state.CompareAndSwap(waiting, sent) }

// Unsend is for a request that was sent and certainly had no effect. It is not ok
// if the caller has left.
func (r *Request) Unsend() bool { return r.state.CompareAndSwap(sent, waiting) }

// Answer gives the result. After GiveUp it is ignored.
func (r *Request) Answer(versions []store.Version, err error) {
	select {
	case r.done <- result{versions, err}:
	default:
	}
}

// GiveUp makes the caller of a request that was sent leave before its time is up.
func (r *Request) GiveUp(why error) {
	if r.state.CompareAndSwap(sent, left) {
		r.Answer(nil, fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, why))
	}
}

// Keep returns the requests that take the step; the others are left alone:
// their callers have left.
func Keep(batch []*Request, step func(*Request) bool) []*Request {
	kept := make([]*Request, 0, len(batch))
	for _, r := range batch {
		if step(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

// Fail answers all requests with err.
func Fail(batch []*Request, err error) {
	for _, r := range batch {
		r.Answer(nil, err)
	}
}

// Wait returns the result, or by the end of ctx or of limit what is known then:
// store.ErrUnavailable if the request was not sent, else store.ErrOutcomeUnknown.
// tooSlow is the reason after limit.
func (r *Request) Wait(ctx context.Context, limit time.Duration, tooSlow error) ([]store.Version, error) {
	var over <-chan time.Time
	if !local.EndsWithin(ctx, limit) {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	var why error
	select {
	case res := <-r.done:
		return res.versions, res.err
	case <-ctx.Done():
		why = context.Cause(ctx)
	case <-over:
		why = tooSlow
	}
	before := r.state.Swap(left)
	select {
	case res := <-r.done:
		return res.versions, res.err
	default:
	}
	if before == waiting {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, why)
	}
	return nil, fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, why)
}

// Queue holds the requests that wait for the committer. Make it with NewQueue.
type Queue struct {
	mu       sync.Mutex
	closed   bool       // guarded by mu
	requests []*Request // guarded by mu
	changed  *sync.Cond // there is something to take, or closed is set
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	q := &Queue{}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// Push adds a request. It is not ok if the queue is closed.
func (q *Queue) Push(r *Request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.requests = append(q.requests, r)
	q.changed.Signal()
	return true
}

// PutBack makes the rest of what the committer has taken the next ones again.
func (q *Queue) PutBack(rest []*Request) {
	if len(rest) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.requests = append(append(make([]*Request, 0, len(rest)+len(q.requests)), rest...), q.requests...)
}

// Refuse answers all that wait.
func (q *Queue) Refuse(err error) {
	q.mu.Lock()
	requests := q.requests
	q.requests = nil
	q.mu.Unlock()
	Fail(requests, err)
}

// Close makes Take return what is left.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Signal()
}

// Take waits for requests and returns the next batch: of those that can share a
// transaction, the oldest. When the queue is closed it is not ok, and returns all
// that is left.
func (q *Queue) Take() (batch []*Request, ok bool) {
	runtime.Gosched() // callers that were just answered may be about to ask again
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed {
		if batch = q.form(); len(batch) > 0 {
			return batch, true
		}
		q.changed.Wait()
	}
	batch, q.requests = q.requests, nil
	return batch, false
}

// form takes a batch out of requests, and drops those whose callers have left. The
// first of the others is always in it. The caller holds mu.
func (q *Queue) form() []*Request {
	var batch []*Request
	claimed := newClaims()
	bytes, ops, scanned := 0, 0, 0
	kept := q.requests[:0]
	for _, r := range q.requests {
		if r.state.Load() == left {
			continue
		}
		scanned++
		full := len(batch) > 0 && (bytes+r.bytes > maxBytes || ops+len(r.Ops) > maxOps)
		if full || scanned > maxScan || !claimed.add(r.Ops) {
			kept = append(kept, r)
			continue
		}
		batch = append(batch, r)
		bytes, ops = bytes+r.bytes, ops+len(r.Ops)
	}
	clear(q.requests[len(kept):])
	q.requests = kept
	return batch
}

// claims says which operations can share a transaction: at most one on each
// key, except that equal checks, Ensures and Bumps are done once for all. A key
// under one that is deleted waits: it would need its parent made again.
type claims struct {
	by      map[store.Key]*store.Op
	deletes map[store.Key]bool
}

func newClaims() *claims {
	return &claims{by: make(map[store.Key]*store.Op), deletes: make(map[store.Key]bool)}
}

// add claims the keys of ops, all or none.
func (c *claims) add(ops []store.Op) bool {
	for i := range ops {
		op := &ops[i]
		if other, taken := c.by[op.Key]; taken && !shared(op, other) {
			return false
		}
		if len(c.deletes) > 0 && makes(op.Kind) && underAny(c.deletes, op.Key) {
			return false
		}
	}
	for i := range ops {
		op := &ops[i]
		c.by[op.Key] = op
		if op.Kind == store.OpDelete {
			c.deletes[op.Key] = true
		}
	}
	return true
}

func shared(a, b *store.Op) bool {
	return a.Kind == b.Kind && sharable(a.Kind) && (a.Kind != store.OpCheck || a.Version == b.Version)
}

// sharable says whether one operation of this kind may do for several requests.
func sharable(kind store.OpKind) bool {
	return kind == store.OpCheck || kind == store.OpEnsure || kind == store.OpBump
}

func underAny(keys map[store.Key]bool, key store.Key) bool {
	for p := tree.Parent(key); p != ""; p = tree.Parent(p) {
		if keys[p] {
			return true
		}
	}
	return false
}
