package zk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store"
)

// maxRepairs bounds how often one request is sent again because the znodes it
// names keep changing between two states.
const maxRepairs = 32

// maxLosses bounds how many change records are made for one batch while
// somebody else writes to them.
const maxLosses = 8

// Apply implements store.Backend.
func (b *Backend) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	r, err := b.newRequest(ops)
	if err != nil {
		return nil, err
	}
	if len(ops) == 0 {
		return []store.Version{}, nil
	}
	end := time.Now().Add(maxCall)
	if err := b.findBareParents(ctx, r, end); err != nil {
		return nil, err
	}
	if _, err := b.await(ctx); err != nil {
		return nil, err
	}
	if !b.queue.push(r) {
		return nil, errClosed
	}
	return r.wait(ctx, time.Until(end))
}

// newRequest checks ops.
func (b *Backend) newRequest(ops []store.Op) (*request, error) {
	if err := store.CheckOps(ops); err != nil {
		return nil, err
	}
	r := &request{ops: ops, steps: make([]step, len(ops)), done: make(chan result, 1)}
	var deletes map[store.Key]bool
	for i, op := range ops {
		r.steps[i].Digest = store.RecordDigest(op.Key)
		refuse := func(err error) (*request, error) { return nil, &store.OpError{Index: i, Key: op.Key, Err: err} }
		if err := checkKey(op.Key); err != nil {
			return refuse(err)
		}
		if r.bytes += b.opSize(op); r.bytes+b.maxOwnSize() > maxPacket {
			return refuse(store.ErrTooLarge)
		}
		if op.Kind == store.OpDelete {
			if deletes == nil {
				deletes = make(map[store.Key]bool)
			}
			deletes[op.Key] = true
		} else if len(deletes) > 0 && underAny(deletes, op.Key) {
			return refuse(fmt.Errorf("%w: below a record that the same transaction deletes", store.ErrInvalidOp))
		}
		if op.Version > math.MaxInt32-1 {
			r.steps[i].never = true // ZooKeeper's versions have 32 bits
		}
	}
	return r, nil
}

// findBareParents looks at the znodes that operations want at version 0 and
// that are not known to be records: a znode that only has children is at
// version 0 too, and ZooKeeper cannot tell it from a record that was just
// created. It ends by end.
func (b *Backend) findBareParents(ctx context.Context, r *request, end time.Time) error {
	var bounded context.Context // from the first look on, which most do without
	for i, op := range r.ops {
		if op.Version != 0 || op.Kind == store.OpCreate || op.Kind == store.OpEnsure || op.Kind == store.OpBump || b.existing.has(r.steps[i].ID) {
			continue
		}
		if e, age, err := b.remembered(r.steps[i].Digest); err == nil && age == 0 && e != nil && !e.missing() {
			continue
		}
		if bounded == nil {
			var cancel context.CancelFunc
			bounded, cancel = context.WithDeadlineCause(ctx, end, errTooSlow)
			defer cancel()
		}
		bare, err := readOn(bounded, b, plain, func(c *zkc.Conn) (bool, error) {
			data, _, err := c.Get(b.path(op.Key))
			return err == nil && len(data) == 0, err
		})
		switch {
		case err == nil && !bare:
			b.existing.add(r.steps[i].ID) // else each write would look until one changed it
		case err != nil && !errors.Is(err, zkc.ErrNoNode):
			return err
		}
		r.steps[i].never = r.steps[i].never || bare
	}
	return nil
}

// ownNames are the znodes in ROOT/changes that this server has made.
type ownNames struct {
	mu    sync.Mutex
	names map[string]bool // guarded by mu
}

func (o *ownNames) has(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.names[name]
}

func (o *ownNames) add(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names == nil {
		o.names = make(map[string]bool)
	}
	o.names[name] = true
}

// committer is the goroutine that writes, one transaction at a time. Whatever has
// arrived meanwhile is the next one, the last operation of which sets the server's
// change record at the version that it is known to have. So at most one of several
// attempts takes effect, and the record shows which one.
type committer struct {
	b   *Backend
	own ownChanges
}

func (c *committer) run() {
	for {
		batch, ok := c.b.queue.take()
		if !ok {
			fail(batch, errClosed)
			return
		}
		c.commit(batch)
	}
}

func fail(batch []*request, err error) {
	for _, r := range batch {
		r.answer(nil, err)
	}
}

// commit answers each request of batch.
func (c *committer) commit(batch []*request) {
	for losses := 0; len(batch) > 0; {
		l, err := c.b.await(c.b.ctx)
		if err == nil {
			err = c.haveOwn(l)
		}
		if errors.Is(err, errLost) {
			l.fail(err)
			continue
		}
		if err != nil {
			fail(batch, err)
			if errors.Is(err, errAway) {
				c.b.queue.refuse(err)
			}
			return
		}
		batch = keep(c.fit(batch), (*request).send)
		if len(batch) == 0 {
			return
		}
		t := c.build(batch)
		results, err := transact(c.b.ctx, l, t.ops...)
		switch {
		case err == nil:
			c.committed(t, writtenAt(results))
			return
		case errors.Is(err, errRefused):
			batch = c.refused(l, t, results)
			if !c.own.exists {
				losses++
			}
			if losses > maxLosses {
				fail(batch, fmt.Errorf("%w: somebody keeps changing %s", store.ErrUnavailable, c.b.changes))
				return
			}
		default:
			l.fail(err)
			batch = c.resolve(t)
		}
	}
}

// keep returns the requests that take the step; the others are left alone:
// their callers are gone.
func keep(batch []*request, step func(*request) bool) []*request {
	kept := make([]*request, 0, len(batch))
	for _, r := range batch {
		if step(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

// writtenAt returns where in the order of all writes a transaction is, as the
// last of its results says, which is of our change record; 0 if it does not.
func writtenAt(results []zkc.MultiResponse) store.Revision {
	if len(results) == 0 || results[len(results)-1].Stat == nil {
		return 0
	}
	return store.Revision(results[len(results)-1].Stat.Mzxid)
}

// committed answers a batch that took effect.
func (c *committer) committed(t *tx, revision store.Revision) {
	c.own.published(t.ids, time.Now())
	for _, id := range t.drops {
		c.b.cache.drop(id &^ quiet)
	}
	now := sinceBase()
	for _, r := range t.batch {
		versions := r.versions()
		for i, op := range r.ops {
			if kept(op) {
				c.b.wrote(&r.steps[i], &entry{rest: r.steps[i].Rest, read: now, data: op.Data, version: versions[i], revision: revision})
			}
			switch op.Kind {
			case store.OpCreate, store.OpEnsure, store.OpSet, store.OpBump:
				c.b.existing.add(r.steps[i].ID)
			case store.OpDelete:
				c.b.existing.remove(r.steps[i].ID)
			}
		}
		r.answer(versions, nil)
	}
	c.b.hub.Tell(loud(t.ids)...) // last: who is told reads what is in memory by now
}

// maxOwnVersion is when a new change record is begun, long before the version,
// of 32 bits, becomes negative and means "any" to ZooKeeper.
const maxOwnVersion = 1 << 30

// haveOwn makes the znode of the server's change record unless it is there.
func (c *committer) haveOwn(l *link) error {
	if c.own.version >= maxOwnVersion {
		c.own = ownChanges{}
	}
	for tries := 0; !c.own.exists; tries++ {
		if tries > maxRepairs {
			return fmt.Errorf("%w: %s keeps vanishing", store.ErrUnavailable, c.b.changes)
		}
		if c.own.path == "" {
			name := newOwnName()
			c.own = ownChanges{path: c.b.changes + "/" + name}
			c.b.own.add(name)
		}
		_, err := transact(c.b.ctx, l, &zkc.CreateRequest{Path: c.own.path, Data: change{}.encode(), Acl: c.b.acl})
		switch {
		case err == nil:
			c.own.exists = true
		case errors.Is(err, zkc.ErrNodeExists):
			// An earlier attempt made it, whose answer was lost.
			c.own.exists = true
		case errors.Is(err, zkc.ErrNoNode):
			if err := c.b.makePath(c.b.ctx, l, c.b.changes); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// lostOwn is for when somebody else has written or deleted our change record.
// What we publish goes to a new one; what was published may not have been
// read, but those who follow us see the old one go, or make no sense.
func (c *committer) lostOwn(why string) {
	c.b.log.Warn("this server's change record was touched by somebody else", zap.String("znode", c.own.path), zap.String("found", why))
	c.own = ownChanges{}
	c.b.missed()
}
