package zk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

const (
	// maxWritePause is how long a pause lasts at most.
	maxWritePause = 500 * time.Millisecond
	// writePauseEvery is the least time from the beginning of one pause to that of the
	// next. Anyone who can write to ZooKeeper can ask for pauses: they hold writes
	// back for at most a twentieth of the time.
	writePauseEvery = 10 * time.Second
	// writePauseSpread is by how much a pause may begin later on one server than on
	// another.
	writePauseSpread = time.Second
)

// writePauses holds the writes of this server back for a snapshot on any server: while
// the znode ROOT/pause exists, and at most for maxWritePause by the clock of this server.
// What is in the znode does not matter. Servers of earlier releases do not know it,
// and others may see it late: a snapshot finds out by itself whether something was
// written meanwhile.
type writePauses struct {
	life  *lifetime
	tree  tree.Tree
	log   *zap.Logger
	conns *connections

	mu    sync.Mutex
	began time.Time          // the last pause, zero before the first; guarded by mu
	over  <-chan struct{}    // closed when that pause ends; guarded by mu
	end   context.CancelFunc // ends it early; guarded by mu
}

// look finds out whether there is a pause. It is called when the znode has changed,
// and for each connection.
func (p *writePauses) look() {
	there, err := tryReads(p.life.ctx, p.conns, plain, func(c *zkc.Conn) (bool, error) {
		exists, _, err := c.Exists(p.tree.Pause())
		return exists, err
	})
	switch {
	case err != nil: // it is called again for the next connection
	case !there:
		p.resume()
	case p.begin(time.Now()):
		p.log.Info("writes are held back for a backup", zap.Duration("at most", p.life.pause))
	}
}

// begin begins a pause, unless the last one has begun less than writePauseEvery ago.
func (p *writePauses) begin(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.restAt(now) > 0 {
		return false
	}
	ctx, end := context.WithTimeout(p.life.ctx, p.life.pause)
	p.began, p.over, p.end = now, ctx.Done(), end
	return true
}

// restAt returns for how long this server begins no pause. The caller holds mu.
func (p *writePauses) restAt(now time.Time) time.Duration {
	if p.began.IsZero() {
		return 0
	}
	return max(0, writePauseEvery-now.Sub(p.began))
}

// resume ends the pause, if there is one.
func (p *writePauses) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end != nil {
		p.end()
	}
}

// rest returns how long to wait until all servers begin another pause. They have
// begun the last one at about the same time.
func (p *writePauses) rest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.restAt(time.Now().Add(-writePauseSpread))
}

// await returns when there is no pause, or the backend is closing.
func (p *writePauses) await() {
	p.mu.Lock()
	over := p.over
	p.mu.Unlock()
	if over == nil {
		return
	}
	select {
	case <-over:
	case <-p.life.closing:
	}
}

// ask has all servers begin a pause, and returns what ends it.
func (p *writePauses) ask(ctx context.Context) (end func(), err error) {
	c, err := p.conns.await(ctx)
	if err != nil {
		return nil, err
	}
	path := p.tree.Pause()
	create := &zkc.CreateRequest{Path: path, Acl: p.tree.ACL, Flags: zkc.FlagEphemeral}
	_, err = c.Transact(ctx, create)
	if errors.Is(err, zkc.ErrNodeExists) {
		// Another server asks as well, or has left the znode behind.
		_, err = c.Transact(ctx, &zkc.DeleteRequest{Path: path, Version: -1}, create)
	}
	switch {
	case err == nil:
		return func() { p.withdraw(c.Session) }, nil
	case session.Answered(err):
		return nil, fmt.Errorf("hold back writes: create %s: %w", path, unusable(err))
	}
	p.withdraw(c.Session) // it may be there
	return nil, fmt.Errorf("%w: hold back writes: create %s: %w", store.ErrUnavailable, path, err)
}

// withdraw removes the znode. If that fails, the end of the session does.
func (p *writePauses) withdraw(s *session.Session) {
	ctx, cancel := p.life.withinCall(p.life.ctx)
	defer cancel()
	_, err := s.Transact(ctx, &zkc.DeleteRequest{Path: p.tree.Pause(), Version: -1})
	if err != nil && !errors.Is(err, zkc.ErrNoNode) {
		p.log.Warn("cannot remove a znode", zap.String("znode", p.tree.Pause()), zap.Error(err))
	}
}
