package zk

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/zk/internal/batch"
	"secretstore/store/zk/internal/changes"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

// refused deals with a transaction that ZooKeeper has refused because of one
// operation, and returns the requests that are to be sent again: after a
// repair all of them, otherwise all but the one whose operation it is.
func (w *writer) refused(s *session.Session, t *batch.Transaction, results []zkc.MultiResponse) []*batch.Request {
	requests := batch.Keep(t.Batch, (*batch.Request).Unsend)
	at := session.Culprit(results)
	if at == len(t.Ops) {
		w.lostOwn(results[at].Error.Error())
		return requests
	}
	by := t.Owner(at)
	r, op := by.Request, by.Request.Ops[by.Index]
	repair := w.repair
	if by.Parent {
		repair = w.repairParent
	}
	repaired, err := repair(s, r, by.Index, results[at].Error)
	if errors.Is(err, session.ErrLost) {
		s.Fail(err)
		return requests // it will be refused again, and repaired then
	}
	switch {
	case !repaired:
	case !w.builder.Fits(r):
		err = &store.OpError{Index: by.Index, Key: op.Key, Err: store.ErrTooLarge} // with what is to be made above it
	case r.Repairs < maxRepairs+len(r.Ops):
		r.Repairs++
		return requests
	default:
		err = fmt.Errorf("%w: %s keeps changing", store.ErrUnavailable, w.tree.Path(op.Key))
	}
	r.Answer(nil, err)
	return batch.Keep(requests, func(other *batch.Request) bool { return other != r && !other.SharesRefusal(op, err) })
}

// repair finds out why operation i of r was refused. It returns repaired if the
// request may be tried again.
func (w *writer) repair(s *session.Session, r *batch.Request, i int, refusal error) (repaired bool, err error) {
	op := r.Ops[i]
	refuse := func(err error) (bool, error) { return false, &store.OpError{Index: i, Key: op.Key, Err: err} }
	if errors.Is(refusal, zkc.ErrNoAuth) {
		return false, fmt.Errorf("%s: %w", w.tree.Path(op.Key), unusable(refusal))
	}
	switch op.Kind {
	case store.OpCreate, store.OpEnsure:
		return w.repairCreate(s, r, i, refusal)
	case store.OpBump:
		return w.repairBump(s, r, i, refusal)
	}
	switch {
	case errors.Is(refusal, zkc.ErrNoNode):
		return refuse(store.ErrNotFound)
	case errors.Is(refusal, zkc.ErrNotEmpty):
		return refuse(store.ErrNotEmpty)
	case errors.Is(refusal, zkc.ErrBadVersion):
		_, err := session.Do(w.life.ctx, s, func(conn *zkc.Conn) (store.Node, error) { return getNode(conn, w.tree.Path(op.Key)) })
		if errors.Is(err, store.ErrNotFound) {
			return refuse(store.ErrNotFound)
		}
		if err != nil && !session.Answered(err) {
			return false, err
		}
		return refuse(store.ErrConflict)
	}
	return false, fmt.Errorf("%s: %w", w.tree.Path(op.Key), refusal)
}

// repairCreate is repair for Create and Ensure.
func (w *writer) repairCreate(s *session.Session, r *batch.Request, i int, refusal error) (repaired bool, err error) {
	op, step := r.Ops[i], &r.Steps[i]
	path := w.tree.Path(op.Key)
	w.cache.existing.Remove(step.ID)
	switch {
	case errors.Is(refusal, zkc.ErrNoNode) && !step.OverParent && !step.Assumed:
		step.Parents, err = w.missingParents(s, op.Key)
		return err == nil, err
	case step.OverParent || step.Assumed || step.Within:
		// The znode is no longer as it was found.
		step.OverParent, step.There, step.Parents = false, false, nil
		return true, nil
	case errors.Is(refusal, zkc.ErrNodeExists):
		stat, err := s.Exists(w.life.ctx, path)
		switch {
		case err != nil:
			return false, err
		case stat == nil: // removed meanwhile
			return true, nil
		case stat.DataLength == 0:
			step.OverParent, step.At = true, stat.Version
			return true, nil
		case op.Kind == store.OpEnsure:
			step.There = true
			w.cache.existing.Add(step.ID)
			return true, nil
		}
		return false, &store.OpError{Index: i, Key: op.Key, Err: store.ErrExists}
	}
	return false, fmt.Errorf("%s: %w", path, refusal)
}

// repairBump is repair for Bump.
func (w *writer) repairBump(s *session.Session, r *batch.Request, i int, refusal error) (repaired bool, err error) {
	step := &r.Steps[i]
	w.cache.existing.Remove(step.ID)
	switch {
	case errors.Is(refusal, zkc.ErrNoNode):
		step.Absent = true
		step.Parents, err = w.missingParents(s, r.Ops[i].Key)
		return err == nil, err
	case errors.Is(refusal, zkc.ErrNodeExists), step.Within:
		step.Absent, step.Parents = false, nil
		return true, nil
	}
	return false, fmt.Errorf("%s: %w", w.tree.Path(r.Ops[i].Key), refusal)
}

// repairParent is repair for the znodes above, which are not as they were found.
func (w *writer) repairParent(s *session.Session, r *batch.Request, i int, refusal error) (repaired bool, err error) {
	if errors.Is(refusal, zkc.ErrNoNode) || errors.Is(refusal, zkc.ErrNodeExists) {
		r.Steps[i].Parents, err = w.missingParents(s, r.Ops[i].Key)
		return err == nil, err
	}
	return false, fmt.Errorf("above %s: %w", w.tree.Path(r.Ops[i].Key), refusal)
}

// missingParents returns the keys above key that have no znode, topmost first.
func (w *writer) missingParents(s *session.Session, key store.Key) ([]store.Key, error) {
	var above []store.Key
	for p := tree.Parent(key); p != ""; p = tree.Parent(p) {
		above = append(above, p)
	}
	slices.Reverse(above)
	var failure error
	// Below a znode that is missing all are, so few questions find the first.
	first := sort.Search(len(above), func(i int) bool {
		if failure != nil {
			return true
		}
		stat, err := s.Exists(w.life.ctx, w.tree.Path(above[i]))
		failure = err
		return stat == nil
	})
	for _, missing := range above[first:] {
		w.cache.existing.Remove(store.RecordID(missing)) // an Ensure must not find it made, and empty
	}
	if failure != nil || first > 0 {
		return above[first:], failure
	}
	// Perhaps ROOT itself was removed.
	return above, s.MakePath(w.life.ctx, w.tree.Root, w.tree.ACL)
}

// resolve finds out the outcome of a transaction, which set our change record to
// sent and whose answer was lost. It answers the requests if it took effect, or
// if that cannot be known. It returns the requests that are to be sent again,
// since the transaction did not take effect and never will.
//
// It tries to set our change record at the same version as the transaction
// did, so that only one of the two can ever take effect, however late a packet
// arrives. Then it is clear which one did.
func (w *writer) resolve(t *batch.Transaction, sent changes.Record) []*batch.Request {
	for {
		c := w.awaitLong(t.Batch)
		if c == nil {
			return w.unknown(t, errClosed)
		}
		_, err := c.Transact(w.life.ctx, w.own.set(w.own.Next(nil, session.Now())))
		switch {
		case err == nil:
			w.own.published(nil)
			return batch.Keep(t.Batch, (*batch.Request).Unsend)
		case errors.Is(err, zkc.ErrBadVersion):
			done, rest := w.findAttempt(c.Session, t, sent)
			if done {
				return rest
			}
		case session.Answered(err):
			w.lostOwn(err.Error())
			return w.unknown(t, err)
		default:
			c.Fail(err)
		}
	}
}

// findAttempt reads which of our attempts took effect. It is not done if the
// connection was lost meanwhile.
func (w *writer) findAttempt(s *session.Session, t *batch.Transaction, sent changes.Record) (done bool, again []*batch.Request) {
	now, err := s.Get(w.life.ctx, w.own.path)
	if err != nil && !session.Answered(err) {
		s.Fail(err)
		return false, nil
	}
	found, parseErr := changes.Parse(now.Data)
	switch {
	case err != nil || parseErr != nil || now.Stat.Version != w.own.version+1 || found.Nonce > w.own.Nonce() || found.Nonce < sent.Nonce:
		w.lostOwn("another version or content")
		return true, w.unknown(t, errors.New("another program has changed the change record"))
	case found.Nonce == sent.Nonce:
		w.committed(t, store.Revision(now.Stat.Mzxid))
		return true, nil
	}
	// One of the fences.
	w.own.published(nil)
	return true, batch.Keep(t.Batch, (*batch.Request).Unsend)
}

// unknown answers the requests of a transaction whose outcome will not be known.
func (w *writer) unknown(t *batch.Transaction, why error) []*batch.Request {
	w.feed.reported(t.IDs)
	w.log.Warn("the outcome of a write to ZooKeeper is unknown", zap.Int("requests", len(t.Batch)), zap.Error(why))
	batch.Fail(t.Batch, fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, why))
	return nil
}

// awaitLong waits for a connection until the backend is closed. Requests that wait
// in the queue meanwhile are refused; once no member listens, the callers of sent
// are told that its outcome is unknown.
func (w *writer) awaitLong(sent []*batch.Request) *connection {
	again := time.NewTicker(w.life.await)
	defer again.Stop()
	for {
		c, changed := w.conns.now()
		if c != nil {
			return c
		}
		if w.conns.stopped.Load() {
			for _, r := range sent {
				r.GiveUp(errAway)
			}
			w.queue.Refuse(errAway)
		}
		select {
		case <-changed:
		case <-again.C:
			w.queue.Refuse(errAway)
		case <-w.life.closing:
			return nil
		}
	}
}
