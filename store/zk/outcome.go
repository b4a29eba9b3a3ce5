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
)

// refused deals with a transaction that ZooKeeper has refused because of one
// operation, and returns the requests that are to be sent again: after a
// repair all of them, otherwise all but the one whose operation it is.
func (c *committer) refused(l *link, t *tx, results []zkc.MultiResponse) []*request {
	batch := keep(t.batch, (*request).unsend)
	at := culprit(results)
	if at == len(t.owner) {
		c.lostOwn(results[at].Error.Error())
		return batch
	}
	by := t.owner[at]
	judge := c.judge
	if by.parent {
		judge = c.judgeParent
	}
	repaired, err := judge(l, by.r, by.index, results[at].Error)
	if errors.Is(err, errLost) {
		l.fail(err)
		return batch // it will be refused again, and judged then
	}
	key := by.r.ops[by.index].Key
	switch {
	case !repaired:
	case c.b.size(by.r) > maxPacket:
		err = &store.OpError{Index: by.index, Key: key, Err: store.ErrTooLarge} // with what is to be made above it
	case by.r.repairs < maxRepairs:
		by.r.repairs++
		return batch
	default:
		err = fmt.Errorf("%w: %s keeps changing", store.ErrUnavailable, c.b.path(key))
	}
	by.r.answer(nil, err)
	return keep(batch, func(r *request) bool { return r != by.r && !sharesRefusal(r, by.r.ops[by.index], err) })
}

// sharesRefusal answers r if it has asked for the same check as op, which was
// refused: one attempt for each of many such requests would hold up all others.
func sharesRefusal(r *request, op store.Op, err error) bool {
	var refused *store.OpError
	if op.Kind != store.OpCheck || !errors.As(err, &refused) {
		return false
	}
	for i := range r.ops {
		if r.ops[i].Key == op.Key && shared(&r.ops[i], &op) {
			r.answer(nil, &store.OpError{Index: i, Key: op.Key, Err: refused.Err})
			return true
		}
	}
	return false
}

// judge finds out why operation i of r was refused. It returns repaired if it
// has done something so that it may be tried again.
func (c *committer) judge(l *link, r *request, i int, refusal error) (repaired bool, err error) {
	op := r.ops[i]
	refuse := func(err error) (bool, error) { return false, &store.OpError{Index: i, Key: op.Key, Err: err} }
	if errors.Is(refusal, zkc.ErrNoAuth) {
		return false, fmt.Errorf("%s: %w", c.b.path(op.Key), refusal)
	}
	switch op.Kind {
	case store.OpCreate, store.OpEnsure:
		return c.judgeCreate(l, r, i, refusal)
	case store.OpBump:
		return c.judgeBump(l, r, i, refusal)
	}
	switch {
	case errors.Is(refusal, zkc.ErrNoNode):
		return refuse(store.ErrNotFound)
	case errors.Is(refusal, zkc.ErrNotEmpty):
		return refuse(store.ErrNotEmpty)
	case errors.Is(refusal, zkc.ErrBadVersion):
		_, err := do(c.b.ctx, l, func(conn *zkc.Conn) (store.Node, error) { return getNode(conn, c.b.path(op.Key)) })
		if errors.Is(err, store.ErrNotFound) {
			return refuse(store.ErrNotFound)
		}
		if err != nil && !answered(err) {
			return false, err
		}
		return refuse(store.ErrConflict)
	}
	return false, fmt.Errorf("%s: %w", c.b.path(op.Key), refusal)
}

// judgeCreate is judge for Create and Ensure.
func (c *committer) judgeCreate(l *link, r *request, i int, refusal error) (repaired bool, err error) {
	op, step := r.ops[i], &r.steps[i]
	path := c.b.path(op.Key)
	c.b.existing.remove(step.ID)
	switch {
	case errors.Is(refusal, zkc.ErrNoNode) && !step.overParent && !step.assumed:
		step.parents, err = c.missingParents(l, op.Key)
		return err == nil, err
	case step.overParent || step.assumed || step.within:
		// It is no longer what it was taken for.
		step.overParent, step.there, step.parents = false, false, nil
		return true, nil
	case errors.Is(refusal, zkc.ErrNodeExists):
		stat, err := do(c.b.ctx, l, func(conn *zkc.Conn) (*zkc.Stat, error) {
			exists, stat, err := conn.Exists(path)
			if !exists {
				return nil, err
			}
			return stat, err
		})
		switch {
		case err != nil:
			return false, err
		case stat == nil: // gone again
			return true, nil
		case stat.DataLength == 0:
			step.overParent, step.at = true, stat.Version
			return true, nil
		case op.Kind == store.OpEnsure:
			step.there = true
			c.b.existing.add(step.ID)
			return true, nil
		}
		return false, &store.OpError{Index: i, Key: op.Key, Err: store.ErrExists}
	}
	return false, fmt.Errorf("%s: %w", path, refusal)
}

// judgeBump is judge for Bump.
func (c *committer) judgeBump(l *link, r *request, i int, refusal error) (repaired bool, err error) {
	step := &r.steps[i]
	c.b.existing.remove(step.ID)
	switch {
	case errors.Is(refusal, zkc.ErrNoNode):
		step.absent = true
		step.parents, err = c.missingParents(l, r.ops[i].Key)
		return err == nil, err
	case errors.Is(refusal, zkc.ErrNodeExists), step.within:
		step.absent, step.parents = false, nil
		return true, nil
	}
	return false, fmt.Errorf("%s: %w", c.b.path(r.ops[i].Key), refusal)
}

// judgeParent is judge for the znodes above, which are not what they were
// found to be.
func (c *committer) judgeParent(l *link, r *request, i int, refusal error) (repaired bool, err error) {
	if errors.Is(refusal, zkc.ErrNoNode) || errors.Is(refusal, zkc.ErrNodeExists) {
		r.steps[i].parents, err = c.missingParents(l, r.ops[i].Key)
		return err == nil, err
	}
	return false, fmt.Errorf("above %s: %w", c.b.path(r.ops[i].Key), refusal)
}

// missingParents returns the keys above key that have no znode, topmost first.
func (c *committer) missingParents(l *link, key store.Key) ([]store.Key, error) {
	var above []store.Key
	for p := parentOf(key); p != ""; p = parentOf(p) {
		above = append(above, p)
	}
	slices.Reverse(above)
	var failure error
	// Below a znode that is missing all are, so few questions find the first.
	first := sort.Search(len(above), func(i int) bool {
		if failure != nil {
			return true
		}
		exists, err := do(c.b.ctx, l, func(conn *zkc.Conn) (bool, error) {
			exists, _, err := conn.Exists(c.b.path(above[i]))
			return exists, err
		})
		failure = err
		return !exists
	})
	for _, missing := range above[first:] {
		c.b.existing.remove(recordID(missing)) // who ensures it shall not find it made, and empty
	}
	if failure != nil || first > 0 {
		return above[first:], failure
	}
	// Somebody may have removed ROOT itself.
	return above, c.b.makePath(c.b.ctx, l, c.b.cfg.Root)
}

// resolve finds out what became of a transaction whose answer was lost, and
// answers its requests if it took effect, or if that cannot be known. It
// returns the requests that are to be sent again, since it did not and never
// will.
//
// It tries to set our change record at the same version as the transaction
// did, so that only one of the two can ever take effect, however late a packet
// arrives. Then it is clear which one did.
func (c *committer) resolve(t *tx) []*request {
	for {
		l := c.awaitLong(t)
		if l == nil {
			return c.unknown(t, errClosed)
		}
		fence := c.own.next(nil, time.Now())
		_, err := transact(c.b.ctx, l, &zkc.SetDataRequest{Path: c.own.path, Data: fence.encode(), Version: c.own.version})
		switch {
		case err == nil:
			c.own.published(nil, time.Now())
			return keep(t.batch, (*request).unsend)
		case errors.Is(err, zkc.ErrBadVersion):
			done, rest := c.lookWhich(l, t)
			if done {
				return rest
			}
		case answered(err):
			c.lostOwn(err.Error())
			return c.unknown(t, err)
		default:
			l.fail(err)
		}
	}
}

// lookWhich reads which of our attempts took effect. It is not done if the
// connection was lost meanwhile.
func (c *committer) lookWhich(l *link, t *tx) (done bool, again []*request) {
	type content struct {
		data []byte
		stat *zkc.Stat
	}
	now, err := do(c.b.ctx, l, func(conn *zkc.Conn) (content, error) {
		data, stat, err := conn.Get(c.own.path)
		return content{data, stat}, err
	})
	if err != nil && !answered(err) {
		l.fail(err)
		return false, nil
	}
	found, parseErr := parseChange(now.data)
	switch {
	case err != nil || parseErr != nil || now.stat.Version != c.own.version+1 || found.nonce > c.own.nonce || found.nonce < t.change.nonce:
		c.lostOwn("another version or content")
		return true, c.unknown(t, errors.New("the change record was touched by somebody else"))
	case found.nonce == t.change.nonce:
		c.committed(t, store.Revision(now.stat.Mzxid))
		return true, nil
	}
	// One of the fences.
	c.own.published(nil, time.Now())
	return true, keep(t.batch, (*request).unsend)
}

// unknown answers the requests of a transaction whose outcome will not be
// known.
func (c *committer) unknown(t *tx, why error) []*request {
	c.b.told(t.ids)
	c.b.log.Warn("the outcome of a write to ZooKeeper is unknown", zap.Int("requests", len(t.batch)), zap.Error(why))
	fail(t.batch, fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, why))
	return nil
}

// awaitLong waits for a connection until the backend is closed. Those who wait
// behind t meanwhile are told that there is none; once nothing listens any more,
// so are those who wait for its outcome.
func (c *committer) awaitLong(t *tx) *link {
	again := time.NewTicker(maxAwait)
	defer again.Stop()
	for {
		l, changed := c.b.link()
		if l != nil {
			return l
		}
		if c.b.stopped.Load() {
			for _, r := range t.batch {
				r.giveUp(errAway)
			}
			c.b.queue.refuse(errAway)
		}
		select {
		case <-changed:
		case <-again.C:
			c.b.queue.refuse(errAway)
		case <-c.b.closing:
			return nil
		}
	}
}
