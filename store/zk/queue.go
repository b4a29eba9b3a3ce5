package zk

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"secretstore/store"
)

// The bounds of a batch of writes. One request larger than that travels alone.
const (
	maxBatchBytes = 256 << 10
	maxBatchOps   = 512
	// maxScan bounds how many waiting requests are looked at for one batch.
	maxScan = 2048
)

// The states of a request. A caller whose time is up leaves: from waiting, it
// knows that its write will never happen; from sent, it does not know.
const (
	waiting = iota
	sent
	left
)

// request is one Apply on its way.
type request struct {
	ops   []store.Op
	bytes int
	state atomic.Int32
	done  chan result // gets one result

	// What follows belongs to the committer.
	steps   []step
	repairs int
}

type result struct {
	versions []store.Version
	err      error
}

// send moves r from waiting to sent. It is not ok if the caller has left.
func (r *request) send() bool { return r.state.CompareAndSwap(waiting, sent) }

// unsend is for a request that was sent and certainly had no effect.
func (r *request) unsend() bool { return r.state.CompareAndSwap(sent, waiting) }

func (r *request) answer(versions []store.Version, err error) { r.done <- result{versions, err} }

// wait returns the result, or by the end of ctx or of limit what is known then.
func (r *request) wait(ctx context.Context, limit time.Duration) ([]store.Version, error) {
	var over <-chan time.Time
	if !boundBy(ctx, limit) {
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
		why = errTooSlow
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

// queue holds what waits for the committer.
type queue struct {
	mu       sync.Mutex
	closed   bool       // guarded by mu
	requests []*request // guarded by mu
	wake     chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) push(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.requests = append(q.requests, r)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// putBack makes requests the next ones again.
func (q *queue) putBack(requests []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.requests = append(append(make([]*request, 0, len(requests)+len(q.requests)), requests...), q.requests...)
	if q.closed {
		return // take gives back what is left
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// refuse answers all that wait.
func (q *queue) refuse(err error) {
	q.mu.Lock()
	requests := q.requests
	q.requests = nil
	q.mu.Unlock()
	fail(requests, err)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	close(q.wake)
}

// take waits for work and returns the next batch: the oldest request and all
// that can share a transaction with it. When the queue is closed it is not ok,
// and returns all that is left.
func (q *queue) take() (batch []*request, ok bool) {
	for {
		_, open := <-q.wake
		runtime.Gosched()
		q.mu.Lock()
		if !open || q.closed {
			batch, q.requests = q.requests, nil
			q.mu.Unlock()
			return batch, false
		}
		batch = q.form()
		if len(q.requests) > 0 {
			select {
			case q.wake <- struct{}{}:
			default:
			}
		}
		q.mu.Unlock()
		if len(batch) > 0 {
			return batch, true
		}
	}
}

// form takes a batch out of requests. The caller holds mu.
func (q *queue) form() []*request {
	var batch []*request
	claims := newClaims()
	bytes, ops := 0, 0
	kept := q.requests[:0]
	for i, r := range q.requests {
		if r.state.Load() == left {
			continue
		}
		fits := len(batch) == 0 || bytes+r.bytes <= maxBatchBytes && ops+len(r.ops) <= maxBatchOps
		if i >= maxScan || !fits || !claims.add(r.ops) {
			kept = append(kept, r)
			continue
		}
		batch = append(batch, r)
		bytes, ops = bytes+r.bytes, ops+len(r.ops)
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
		if len(c.deletes) > 0 && (op.Kind == store.OpCreate || op.Kind == store.OpEnsure || op.Kind == store.OpBump) && underAny(c.deletes, op.Key) {
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
	for p := parentOf(key); p != ""; p = parentOf(p) {
		if keys[p] {
			return true
		}
	}
	return false
}
