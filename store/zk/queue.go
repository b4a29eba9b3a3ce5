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

	// What follows belongs to the committer once it has taken the request.
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

// answer gives the result. What comes after giveUp is nobody's.
func (r *request) answer(versions []store.Version, err error) {
	select {
	case r.done <- result{versions, err}:
	default:
	}
}

// giveUp has the caller of a request that was sent leave before its time is up.
func (r *request) giveUp(why error) {
	if r.state.CompareAndSwap(sent, left) {
		r.answer(nil, fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, why))
	}
}

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
	changed  *sync.Cond // there is something to take, or closed is set
}

func newQueue() *queue {
	q := &queue{}
	q.changed = sync.NewCond(&q.mu)
	return q
}

func (q *queue) push(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.requests = append(q.requests, r)
	q.changed.Signal()
	return true
}

// putBack makes the rest of what the committer has taken the next ones again.
func (q *queue) putBack(rest []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.requests = append(append(make([]*request, 0, len(rest)+len(q.requests)), rest...), q.requests...)
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
	q.changed.Signal()
}

// take waits for requests and returns the next batch: of those that can share a
// transaction, the oldest. When the queue is closed it is not ok, and returns all
// that is left.
func (q *queue) take() (batch []*request, ok bool) {
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
func (q *queue) form() []*request {
	var batch []*request
	claimed := newClaims()
	bytes, ops, scanned := 0, 0, 0
	kept := q.requests[:0]
	for _, r := range q.requests {
		if r.state.Load() == left {
			continue
		}
		scanned++
		full := len(batch) > 0 && (bytes+r.bytes > maxBatchBytes || ops+len(r.ops) > maxBatchOps)
		if full || scanned > maxScan || !claimed.add(r.ops) {
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
