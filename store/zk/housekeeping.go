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

// housekeeping tidies up once after the start, in the background, and then has
// kept listings looked at again every now and then; see relookAfter.
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
	ticker := time.NewTicker(relookAfter)
	defer ticker.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case now := <-ticker.C:
			b.cache.doubt(now.Add(-relookAfter).Sub(clockBase).Nanoseconds())
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
	if err := w.learn(ctx); err != nil {
		return err
	}
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
	user                  zkc.ACL // admits the configured user, as servers write it
	seen, mended, refused int
}

// learn finds out how the servers write down the configured user: with SHA-1
// unless they are told otherwise.
func (w *aclWalk) learn(ctx context.Context) error {
	w.user = zkc.DigestACL(zkc.PermAll, w.b.cfg.User, w.b.cfg.Password)[0]
	now, err := w.look(ctx, w.b.cfg.Root)
	if err != nil && !answered(err) || err == nil && w.usersOnly(now.acl) {
		return err
	}
	_, err = do(ctx, w.l, func(c *zkc.Conn) (*zkc.Stat, error) { return c.SetACL(w.b.cfg.Root, w.b.acl, -1) })
	if err != nil {
		if answered(err) {
			return nil // the walk will tell
		}
		return err
	}
	after, err := w.look(ctx, w.b.cfg.Root)
	if err != nil {
		return err
	}
	for _, acl := range after.acl {
		if acl.Scheme == "digest" {
			w.user = acl
		}
	}
	if !w.usersOnly(now.acl) {
		w.mended++
	}
	return nil
}

// found is what is known of a znode.
type found struct {
	acl  []zkc.ACL
	leaf bool // nothing is below it
}

func (w *aclWalk) look(ctx context.Context, path string) (found, error) {
	return do(ctx, w.l, func(c *zkc.Conn) (found, error) {
		acl, stat, err := c.GetACL(path)
		if err != nil {
			return found{}, err
		}
		return found{acl, stat.NumChildren == 0}, nil
	})
}

// mend looks at one znode. A leaf has nothing below it.
func (w *aclWalk) mend(ctx context.Context, path string) (leaf bool, err error) {
	w.seen++
	now, err := w.look(ctx, path)
	if err == nil && !w.usersOnly(now.acl) {
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

// usersOnly says whether acl admits the configured user and nobody else, except
// by certificate: with TLS a server writes down both of what its client has
// proved, so that is how another server of ours looks.
func (w *aclWalk) usersOnly(acl []zkc.ACL) bool {
	return slices.Contains(acl, w.user) &&
		!slices.ContainsFunc(acl, func(a zkc.ACL) bool { return a != w.user && a.Scheme != "x509" })
}
