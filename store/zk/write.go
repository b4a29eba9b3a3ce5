package zk

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/internal/local"
	"secretstore/store/zk/internal/batch"
	"secretstore/store/zk/internal/changes"
	"secretstore/store/zk/internal/memory"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

const (
	// maxRepairs bounds how often one request is sent again because the znodes it
	// names keep changing between two states. Each of its operations may need one
	// more repair, for the znodes that are missing above it.
	maxRepairs = 32
	// maxLosses bounds how many change records are made for one batch while
	// another program writes to them.
	maxLosses = 8
	// maxOwnVersion is when a new change record is begun, long before the version,
	// of 32 bits, becomes negative and means "any" to ZooKeeper.
	maxOwnVersion = 1 << 30
)

// writer sends the writes, one transaction at a time. The requests that arrive
// meanwhile form the next one. The last operation of each sets the server's change
// record at the version that it is known to have. So at most one of several
// attempts takes effect, and the record shows which one.
type writer struct {
	life    *lifetime
	tree    tree.Tree
	log     *zap.Logger
	hub     *local.Hub
	cache   *recordCache
	conns   *connections
	feed    *feed
	pause   *writePauses
	names   *ownNames
	queue   *batch.Queue
	builder batch.Builder
	own     ownRecord // belongs to run
}

// ownRecord is the change record of this server.
type ownRecord struct {
	changes.Own
	path    string // of the znode; "" before there is one
	exists  bool   // the znode is known to be there, at version
	version int32
}

// name returns the name of the znode.
func (o *ownRecord) name() string { return path.Base(o.path) }

// published notes that ids were written to the znode.
func (o *ownRecord) published(ids []store.ID) {
	o.version++
	o.Published(ids, session.Now())
}

// set returns the operation that writes record.
func (o *ownRecord) set(record changes.Record) *zkc.SetDataRequest {
	return &zkc.SetDataRequest{Path: o.path, Data: record.Encode(), Version: o.version}
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

func (w *writer) apply(ctx context.Context, ops []store.Op) ([]store.Version, error) {
	if err := w.life.ready(ctx); err != nil {
		return nil, err
	}
	r, err := w.builder.NewRequest(ops)
	if err != nil {
		return nil, err
	}
	if len(ops) == 0 {
		return []store.Version{}, nil
	}
	end := time.Now().Add(w.life.call)
	if err := w.findBareParents(ctx, r, end); err != nil {
		return nil, err
	}
	if _, err := w.conns.await(ctx); err != nil {
		return nil, err
	}
	if !w.queue.Push(r) {
		return nil, errClosed
	}
	return r.Wait(ctx, time.Until(end), errTooSlow)
}

// findBareParents reads the znodes that operations want at version 0 and that are
// not known to be records: a znode that only has children is at version 0 too,
// and ZooKeeper cannot tell it from a record that was just created. It ends by end.
func (w *writer) findBareParents(ctx context.Context, r *batch.Request, end time.Time) error {
	var bounded context.Context // from the first read on; most requests need none
	for i, op := range r.Ops {
		step := &r.Steps[i]
		if op.Version != 0 || op.Kind == store.OpCreate || op.Kind == store.OpEnsure || op.Kind == store.OpBump || w.cache.exists(step.ID) {
			continue
		}
		if e, age, err := w.cache.lookup(step.Digest); err == nil && age == 0 && e != nil && !e.Missing() {
			continue
		}
		if bounded == nil {
			var cancel context.CancelFunc
			bounded, cancel = context.WithDeadlineCause(ctx, end, errTooSlow)
			defer cancel()
		}
		bare, err := readOn(bounded, w.conns, plain, func(c *zkc.Conn) (bool, error) {
			data, _, err := c.Get(w.tree.Path(op.Key))
			return err == nil && len(data) == 0, err
		})
		switch {
		case err == nil && !bare:
			w.cache.existing.Add(step.ID) // else each write would read it until one changed it
		case err != nil && !errors.Is(err, zkc.ErrNoNode):
			return err
		}
		step.Never = step.Never || bare
	}
	return nil
}

// run commits batches until the queue is closed.
func (w *writer) run() {
	for {
		requests, ok := w.queue.Take()
		if !ok {
			batch.Fail(requests, errClosed)
			return
		}
		w.commit(requests)
	}
}

// commit answers each request.
func (w *writer) commit(requests []*batch.Request) {
	for losses := 0; len(requests) > 0; {
		w.pause.await()
		c, err := w.conns.await(w.life.ctx)
		if err == nil {
			err = w.haveOwn(c.Session)
		}
		if errors.Is(err, session.ErrLost) {
			c.Fail(err)
			continue
		}
		if err != nil {
			batch.Fail(requests, err)
			if errors.Is(err, errAway) {
				w.queue.Refuse(err)
			}
			return
		}
		first, rest := w.builder.Cut(requests)
		w.queue.PutBack(rest)
		requests = batch.Keep(first, (*batch.Request).Send)
		if len(requests) == 0 {
			return
		}
		t := w.builder.Build(requests)
		record := w.own.Next(t.IDs, session.Now())
		results, err := c.Transact(w.life.ctx, append(t.Ops, w.own.set(record))...)
		switch {
		case err == nil:
			w.committed(t, revisionOf(results))
			return
		case errors.Is(err, session.ErrRefused):
			requests = w.refused(c.Session, t, results)
			if !w.own.exists {
				losses++
			}
			if losses > maxLosses {
				batch.Fail(requests, fmt.Errorf("%w: another program keeps changing %s", store.ErrUnavailable, w.tree.Changes()))
				return
			}
		default:
			c.Fail(err)
			requests = w.resolve(t, record)
		}
	}
}

// revisionOf returns the revision of a transaction from the last of its results,
// which is that of our change record; 0 if it has none.
func revisionOf(results []zkc.MultiResponse) store.Revision {
	if len(results) == 0 || results[len(results)-1].Stat == nil {
		return 0
	}
	return store.Revision(results[len(results)-1].Stat.Mzxid)
}

// committed answers a batch that took effect.
func (w *writer) committed(t *batch.Transaction, revision store.Revision) {
	w.feed.logs.add(w.own.name(), w.own.Count(), t.IDs)
	w.own.published(t.IDs)
	for _, id := range t.Drops {
		w.cache.entries.Drop(id &^ changes.Quiet)
	}
	now := session.Now()
	for _, r := range t.Batch {
		versions := r.Versions()
		for i, op := range r.Ops {
			step := &r.Steps[i]
			if batch.Keeps(op) {
				w.cache.wrote(step.ID, step.Ticket, &memory.Entry{Rest: step.Rest, Read: now, Data: op.Data, Version: versions[i], Revision: revision})
			}
			switch op.Kind {
			case store.OpCreate, store.OpEnsure, store.OpSet, store.OpBump:
				w.cache.existing.Add(step.ID)
			case store.OpDelete:
				w.cache.existing.Remove(step.ID)
			}
		}
		r.Answer(versions, nil)
	}
	w.hub.Report(changes.Loud(t.IDs)...) // last: its readers read what is in memory by now
}

// haveOwn makes the znode of the server's change record unless it is there.
func (w *writer) haveOwn(s *session.Session) error {
	if w.own.version >= maxOwnVersion {
		w.own = ownRecord{}
	}
	for tries := 0; !w.own.exists; tries++ {
		if tries > maxRepairs {
			return fmt.Errorf("%w: %s keeps vanishing", store.ErrUnavailable, w.tree.Changes())
		}
		if w.own.path == "" {
			name := changes.NewName()
			w.own = ownRecord{path: w.tree.Changes() + "/" + name}
			w.names.add(name)
		}
		_, err := s.Transact(w.life.ctx, &zkc.CreateRequest{Path: w.own.path, Data: changes.Record{}.Encode(), Acl: w.tree.ACL})
		switch {
		case err == nil:
			w.own.exists = true
		case errors.Is(err, zkc.ErrNodeExists):
			// An earlier attempt made it, and its answer was lost.
			w.own.exists = true
		case errors.Is(err, zkc.ErrNoNode):
			if err := s.MakePath(w.life.ctx, w.tree.Changes(), w.tree.ACL); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// lostOwn is for when another program has written or deleted our change record.
// What we publish goes to a new one; what was published may not have been read,
// but readers see the old one vanish, or make no sense.
func (w *writer) lostOwn(why string) {
	w.log.Warn("another program has changed this server's change record", zap.String("znode", w.own.path), zap.String("found", why))
	w.own = ownRecord{}
	w.feed.missed()
}
