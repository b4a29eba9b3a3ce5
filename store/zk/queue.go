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

	// What follows belongs to the committer that has taken it.
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

// committers is how many transactions can be under way. While ZooKeeper works on
// one, it can read the next, and one write to its disk does for both; with more,
// each is smaller, and costs ZooKeeper more than is gained.
const committers = 2

// queue holds what waits for a committer.
type queue struct {
	mu       sync.Mutex
	closed   bool                   // guarded by mu
	requests []*request             // guarded by mu
	underWay [committers][]*request // what each committer has taken last; guarded by mu
	blocked  bool                   // all that waits has to wait for what is under way; guarded by mu
	// changed is for committers that wait. push tells it only if there is
	// something to take: most requests wait for the end of a transaction.
	changed *sync.Cond
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
	if q.due() {
		q.changed.Signal()
	}
	return true
}

// putBack makes the rest of what a committer has taken the next ones again.
func (q *queue) putBack(committer int, kept, rest []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.underWay[committer] = kept
	q.requests = append(append(make([]*request, 0, len(rest)+len(q.requests)), rest...), q.requests...)
	q.changed.Signal() // once closed, take gives back what is left
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
	q.changed.Broadcast()
}

// due says whether the next batch is to be formed. What is under way lasts longer
// the more there is of it, so the next transaction follows it at once only if it is
// no smaller: many small ones cost more. The caller holds mu.
func (q *queue) due() bool {
	n := 0
	for _, batch := range q.underWay {
		n += len(batch)
	}
	return len(q.requests) > 0 && len(q.requests) >= n && !q.blocked
}

// take waits for work and returns the next batch of a committer: of all that can
// share a transaction, also with what the others have under way, the oldest. What
// the committer took before is done. When the queue is closed it is not ok, and
// returns all that is left.
func (q *queue) take(committer int) (batch []*request, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.underWay[committer], q.blocked = nil, false
	for {
		if q.due() && !q.closed {
			q.mu.Unlock()
			runtime.Gosched() // who has been answered may be about to ask again
			q.mu.Lock()
		}
		switch {
		case q.closed:
			batch, q.requests = q.requests, nil
			return batch, false
		case q.due():
			if batch = q.form(); len(batch) == 0 {
				q.blocked = len(q.requests) > 0 // else their callers had left
				break
			}
			q.underWay[committer] = batch
			if q.due() { // it had no room for all
				q.changed.Signal()
			}
			return batch, true
		}
		q.changed.Wait()
	}
}

// form takes a batch out of requests. The caller holds mu.
func (q *queue) form() []*request {
	var batch []*request
	others, older, ours := newClaims(), newClaims(), newClaims()
	for _, taken := range q.underWay {
		for _, r := range taken {
			others.add(r.ops)
		}
	}
	bytes, ops, looked := 0, 0, 0
	kept := q.requests[:0]
	for _, r := range q.requests {
		if r.state.Load() == left {
			continue
		}
		looked++
		switch {
		case looked > maxScan, len(batch) > 0 && (bytes+r.bytes > maxBatchBytes || ops+len(r.ops) > maxBatchOps):
		case !others.fit(r.ops):
			// Nothing newer goes before it that it would have to wait for as well: there
			// would always be some of that under way.
			older.add(r.ops)
		case older.fit(r.ops) && ours.add(r.ops):
			batch = append(batch, r)
			bytes, ops = bytes+r.bytes, ops+len(r.ops)
			continue
		}
		kept = append(kept, r)
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
	if !c.fit(ops) {
		return false
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

// fit says whether add would claim the keys of ops.
func (c *claims) fit(ops []store.Op) bool {
	if len(c.by) == 0 {
		return true
	}
	for i := range ops {
		op := &ops[i]
		if other, taken := c.by[op.Key]; taken && !shared(op, other) {
			return false
		}
		if len(c.deletes) > 0 && (op.Kind == store.OpCreate || op.Kind == store.OpEnsure || op.Kind == store.OpBump) && underAny(c.deletes, op.Key) {
			return false
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
