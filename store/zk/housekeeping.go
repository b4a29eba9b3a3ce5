package zk

import (
	"context"
	"errors"
	"slices"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
)

const (
	// abandonedAfter is how long a change record stays after its server has
	// last written. A server that lives, and finds its record gone, makes
	// another.
	abandonedAfter = 24 * time.Hour
	// crowd is how many change records there may be before they are only kept
	// for crowdedFor: a server that keeps restarting leaves many.
	crowd      = maxFeeds / 4
	crowdedFor = time.Hour
	// maxWalk bounds how many znodes are looked at for weak ACLs.
	maxWalk = 1_000_000
	// maxTold bounds how many znodes with weak ACLs are named in the log.
	maxTold = 20
	// houseRetry is waited when the connection was lost meanwhile.
	houseRetry = time.Second
)

// housekeeping tidies up once after the start, in the background.
func (b *Backend) housekeeping() {
	for _, job := range []func(context.Context, *link) error{b.removeAbandoned, b.mendACLs} {
		for b.ctx.Err() == nil {
			l, err := b.await(b.ctx)
			if err == nil {
				err = job(b.ctx, l)
			}
			if err == nil {
				break
			}
			if answered(err) {
				b.log.Warn("ZooKeeper housekeeping", zap.Error(err))
				break
			}
			sleep(b.ctx, houseRetry)
		}
	}
}

// removeAbandoned deletes the change records of servers that are long gone.
func (b *Backend) removeAbandoned(ctx context.Context, l *link) error {
	names, err := do(ctx, l, func(c *zkc.Conn) ([]string, error) {
		names, _, err := c.Children(b.changes)
		return names, err
	})
	if err != nil {
		return err
	}
	after := b.abandonedAfter
	if len(names) > crowd {
		after = min(after, crowdedFor)
	}
	for _, name := range names {
		if b.own.has(name) {
			continue
		}
		path := b.changes + "/" + name
		_, err := do(ctx, l, func(c *zkc.Conn) (struct{}, error) {
			exists, stat, err := c.Exists(path)
			if err != nil || !exists || time.Since(time.UnixMilli(stat.Mtime)) < after {
				return struct{}{}, err
			}
			return struct{}{}, c.Delete(path, stat.Version)
		})
		if err != nil && !answered(err) {
			return err
		}
		if err != nil && !errors.Is(err, zkc.ErrNoNode) && !errors.Is(err, zkc.ErrBadVersion) {
			b.log.Warn("an abandoned change record stays", zap.String("znode", path), zap.Error(err))
		}
	}
	return nil
}

// mendACLs gives every znode at and below ROOT the ACL that this server makes
// znodes with, if its own is another: somebody has run without a user before,
// or has made znodes by hand. What cannot be mended is reported. The znodes
// above ROOT belong to others as well.
func (b *Backend) mendACLs(ctx context.Context, l *link) error {
	if b.cfg.User == "" {
		return nil
	}
	w := &aclWalk{b: b, l: l}
	stack := []string{b.cfg.Root}
	for len(stack) > 0 && w.seen < maxWalk {
		path := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		leaf, err := w.mend(ctx, path)
		if err != nil {
			return err
		}
		if leaf {
			continue
		}
		names, err := do(ctx, l, func(c *zkc.Conn) ([]string, error) {
			names, _, err := c.Children(path)
			return names, err
		})
		if err != nil && !answered(err) {
			return err
		}
		for _, name := range names {
			stack = append(stack, path+"/"+name)
		}
	}
	if w.mended+w.refused > 0 || len(stack) > 0 {
		b.log.Warn("ZooKeeper ACLs that let others in", zap.String("root", b.cfg.Root), zap.Int("mended", w.mended),
			zap.Int("not mended", w.refused), zap.Bool("all seen", len(stack) == 0))
	}
	return nil
}

type aclWalk struct {
	b                     *Backend
	l                     *link
	seen, mended, refused int
}

// mend looks at one znode. A leaf has nothing below it.
func (w *aclWalk) mend(ctx context.Context, path string) (leaf bool, err error) {
	w.seen++
	type found struct {
		acl  []zkc.ACL
		leaf bool
	}
	now, err := do(ctx, w.l, func(c *zkc.Conn) (found, error) {
		acl, stat, err := c.GetACL(path)
		if err != nil {
			return found{}, err
		}
		return found{acl, stat.NumChildren == 0}, nil
	})
	if err == nil && !w.b.creatorOnly(now.acl) {
		_, err = do(ctx, w.l, func(c *zkc.Conn) (*zkc.Stat, error) { return c.SetACL(path, w.b.acl, -1) })
		if err == nil {
			w.mended++
		}
	}
	switch {
	case err == nil:
		return now.leaf, nil
	case !answered(err):
		return false, err
	case errors.Is(err, zkc.ErrNoNode):
		return true, nil
	}
	if w.refused++; w.refused <= maxTold {
		w.b.log.Warn("a znode with another ACL cannot be mended", zap.String("znode", path), zap.Error(err))
	}
	return false, nil
}

// creatorOnly says whether acl admits the configured user and nobody else.
// (Servers hash with SHA-1 unless told otherwise. One that was is given the
// same ACL again at each start, to no harm.)
func (b *Backend) creatorOnly(acl []zkc.ACL) bool {
	return slices.Equal(acl, zkc.DigestACL(zkc.PermAll, b.cfg.User, b.cfg.Password))
}
