package zk

import (
	"context"
	"errors"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store/zk/internal/access"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

const (
	// abandonedAfter is how long a change record stays after its server has
	// last written. A server that still runs, and misses its record, makes
	// another.
	abandonedAfter = 24 * time.Hour
	// crowd is how many change records there may be before they are only kept
	// for crowdedFor: a server that keeps restarting leaves many.
	crowd      = maxFeeds / 4
	crowdedFor = time.Hour
	// houseRetry is the pause after the connection was lost.
	houseRetry = time.Second
)

// housekeeper tidies up once after the start, in the background, and then makes
// kept listings be read again every now and then; see recheckAfter.
type housekeeper struct {
	life           *lifetime
	cfg            *Config
	tree           tree.Tree
	log            *zap.Logger
	cache          *recordCache
	conns          *connections
	own            *ownNames
	abandonedAfter time.Duration // constant but in tests
}

func (h *housekeeper) run() {
	for _, job := range []func(context.Context, *session.Session) error{h.removeAbandoned, h.repairACLs} {
		for h.life.ctx.Err() == nil {
			c, err := h.conns.await(h.life.ctx)
			if err == nil {
				err = job(h.life.ctx, c.Session)
			}
			if err == nil {
				break
			}
			if session.Answered(err) {
				h.log.Warn("ZooKeeper housekeeping", zap.Error(err))
				break
			}
			sleep(h.life.ctx, houseRetry)
		}
	}
	ticker := time.NewTicker(recheckAfter)
	defer ticker.Stop()
	for {
		select {
		case <-h.life.ctx.Done():
			return
		case <-ticker.C:
			h.cache.entries.Doubt(session.Now() - int64(recheckAfter))
		}
	}
}

// removeAbandoned deletes the change records of servers that have not written for
// long.
func (h *housekeeper) removeAbandoned(ctx context.Context, s *session.Session) error {
	names, err := s.Children(ctx, h.tree.Changes())
	if err != nil {
		return err
	}
	after := h.abandonedAfter
	if len(names) > crowd {
		after = min(after, crowdedFor)
	}
	for _, name := range names {
		if h.own.has(name) {
			continue
		}
		path := h.tree.Changes() + "/" + name
		_, err := session.Do(ctx, s, func(c *zkc.Conn) (struct{}, error) {
			exists, stat, err := c.Exists(path)
			if err != nil || !exists || time.Since(time.UnixMilli(stat.Mtime)) < after {
				return struct{}{}, err
			}
			return struct{}{}, c.Delete(path, stat.Version)
		})
		if err != nil && !session.Answered(err) {
			return err
		}
		if err != nil && !errors.Is(err, zkc.ErrNoNode) && !errors.Is(err, zkc.ErrBadVersion) {
			h.log.Warn("cannot remove an abandoned change record", zap.String("znode", path), zap.Error(err))
		}
	}
	return nil
}

// repairACLs makes sure that no one but the configured user can use the znodes.
func (h *housekeeper) repairACLs(ctx context.Context, s *session.Session) error {
	if h.cfg.User == "" {
		return nil
	}
	return access.Repair(ctx, s, h.tree, h.cfg.User, h.cfg.Password, h.log)
}
