// Package access is about the ACLs of znodes: it repairs those that let others
// than the configured user in, and says which let everyone read.
package access

import (
	"context"
	"errors"
	"slices"
	"strings"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

const (
	// maxWalk bounds how many znodes are checked for weak ACLs.
	maxWalk = 1_000_000
	// maxLogged bounds how many znodes with weak ACLs are named in the log.
	maxLogged = 20
)

// Repair gives every znode at and below ROOT the ACL of the tree, if its own is
// another: a server ran without a user before, or znodes were made by hand. It
// logs what it cannot repair. The znodes above ROOT belong to others as well.
func Repair(ctx context.Context, s *session.Session, t tree.Tree, user, password string, log *zap.Logger) error {
	w := &walk{s: s, tree: t, log: log, user: zkc.DigestACL(zkc.PermAll, user, password)[0]}
	if err := w.learn(ctx); err != nil {
		return err
	}
	stack := []string{t.Root}
	for len(stack) > 0 && w.seen < maxWalk {
		path := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		leaf, err := w.repair(ctx, path)
		if err != nil {
			return err
		}
		if leaf {
			continue
		}
		names, err := s.Children(ctx, path)
		if err != nil && !session.Answered(err) {
			return err
		}
		for _, name := range names {
			stack = append(stack, path+"/"+name)
		}
	}
	if w.repaired+w.refused > 0 || len(stack) > 0 {
		log.Warn("ZooKeeper ACLs let others in", zap.String("root", t.Root), zap.Int("repaired", w.repaired),
			zap.Int("not repaired", w.refused), zap.Bool("all checked", len(stack) == 0))
	}
	return nil
}

type walk struct {
	s    *session.Session
	tree tree.Tree
	log  *zap.Logger
	user zkc.ACL // admits the configured user, as servers write it

	seen, repaired, refused int
}

// learn finds out how the servers write down the configured user: with SHA-1
// unless they are told otherwise.
func (w *walk) learn(ctx context.Context) error {
	now, err := w.read(ctx, w.tree.Root)
	if err != nil && !session.Answered(err) || err == nil && w.usersOnly(now.acl) {
		return err
	}
	_, err = session.Do(ctx, w.s, func(c *zkc.Conn) (*zkc.Stat, error) { return c.SetACL(w.tree.Root, w.tree.ACL, -1) })
	if err != nil {
		if session.Answered(err) {
			return nil // the walk logs it
		}
		return err
	}
	after, err := w.read(ctx, w.tree.Root)
	if err != nil {
		return err
	}
	for _, acl := range after.acl {
		if acl.Scheme == "digest" {
			w.user = acl
		}
	}
	if !w.usersOnly(now.acl) {
		w.repaired++
	}
	return nil
}

// found is what was read of a znode.
type found struct {
	acl  []zkc.ACL
	leaf bool // nothing is below it
}

func (w *walk) read(ctx context.Context, path string) (found, error) {
	return session.Do(ctx, w.s, func(c *zkc.Conn) (found, error) {
		acl, stat, err := c.GetACL(path)
		if err != nil {
			return found{}, err
		}
		return found{acl, stat.NumChildren == 0}, nil
	})
}

// repair checks one znode. A leaf has nothing below it.
func (w *walk) repair(ctx context.Context, path string) (leaf bool, err error) {
	w.seen++
	now, err := w.read(ctx, path)
	if err == nil && !w.usersOnly(now.acl) {
		_, err = session.Do(ctx, w.s, func(c *zkc.Conn) (*zkc.Stat, error) { return c.SetACL(path, w.tree.ACL, -1) })
		if err == nil {
			w.repaired++
		}
	}
	switch {
	case err == nil:
		return now.leaf, nil
	case !session.Answered(err):
		return false, err
	case errors.Is(err, zkc.ErrNoNode):
		return true, nil
	}
	if w.refused++; w.refused <= maxLogged {
		w.log.Warn("cannot repair the ACL of a znode", zap.String("znode", path), zap.Error(err))
	}
	return false, nil
}

// usersOnly says whether acl admits the configured user and no one else, except by
// certificate: with TLS a server records both identities that its client has
// proved, so another server of ours leaves such an ACL.
func (w *walk) usersOnly(acl []zkc.ACL) bool {
	return slices.Contains(acl, w.user) &&
		!slices.ContainsFunc(acl, func(a zkc.ACL) bool { return a != w.user && a.Scheme != "x509" })
}

// WorldReadable says whether acl lets everyone read. It knows the two schemes that
// ask for no proof: world, and ip with a network that has all addresses in it.
func WorldReadable(acl []zkc.ACL) bool {
	return slices.ContainsFunc(acl, func(a zkc.ACL) bool {
		return a.Perms&zkc.PermRead != 0 &&
			(a.Scheme == "world" && a.ID == "anyone" || a.Scheme == "ip" && strings.HasSuffix(a.ID, "/0"))
	})
}
