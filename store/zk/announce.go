package zk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store/zk/internal/changes"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

const (
	// MaxAnnouncement bounds the announcement of one server, in bytes.
	MaxAnnouncement = 2 << 10
	// maxAnnounced bounds how many announcements are read.
	maxAnnounced = 64
	// announceEvery is how often a server makes sure that its znode is there.
	announceEvery = 5 * time.Second
	// announceTries bounds the attempts while another program changes the znode.
	announceTries = 3
)

// Announcement is what a server, or someone in its name, has announced. Everyone
// who can write to ZooKeeper can announce servers that do not exist: it is for
// people to read, and never a reason to connect to anything.
type Announcement struct {
	ID   string // of the process: 32 lower-case hex digits
	Data []byte // nil if it was longer than MaxAnnouncement
}

// Announce keeps the last of content in an ephemeral znode until ctx or the
// backend ends, across connections, each of which has a session of its own. id
// is 32 lower-case hex digits that no other process has. The error is for another
// id; a failure to write is logged, once an outage, and tried again.
func (b *Backend) Announce(ctx context.Context, id string, content <-chan []byte) error {
	if !changes.IsName(id) {
		return fmt.Errorf("%w: %q is not an id of 32 hex digits", ErrConfig, id)
	}
	a := &announcer{life: b.life, tree: b.tree, log: b.log, path: b.tree.Nodes() + "/" + id}
	again := time.NewTicker(announceEvery)
	defer again.Stop()
	for {
		c, changed := b.conns.now()
		if c != nil && a.data != nil {
			a.report(a.put(ctx, c.Session))
		}
		select {
		case a.data = <-content:
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return nil
		case <-b.life.closing:
			return nil
		}
	}
}

// announcer keeps one znode. It belongs to one goroutine.
type announcer struct {
	life   *lifetime
	tree   tree.Tree
	log    *zap.Logger
	path   string
	data   []byte
	failed bool
}

// report logs the first of several failures. A failure of the connection is
// logged by connections.
func (a *announcer) report(err error) {
	if err != nil && !a.failed && session.Answered(err) {
		a.log.Warn("cannot announce this server to the users of others", zap.String("znode", a.path), zap.Error(err))
	}
	a.failed = err != nil
}

// put makes sure that the znode holds data and belongs to s.
func (a *announcer) put(ctx context.Context, s *session.Session) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.life.call, errTooSlow)
	defer cancel()
	var err error
	for range announceTries {
		if err = a.tryPut(ctx, s); err == nil || !session.Answered(err) {
			return err
		}
		if errors.Is(err, zkc.ErrNoNode) {
			// The folder is missing, or the znode was just removed.
			if err := s.MakePath(ctx, a.tree.Nodes(), a.tree.ACL); err != nil {
				return err
			}
		}
	}
	return err
}

func (a *announcer) tryPut(ctx context.Context, s *session.Session) error {
	found, err := s.Get(ctx, a.path)
	create := &zkc.CreateRequest{Path: a.path, Data: a.data, Acl: a.tree.ACL, Flags: zkc.FlagEphemeral}
	switch {
	case errors.Is(err, zkc.ErrNoNode):
		_, err = s.Transact(ctx, create)
	case err != nil:
	case found.Stat.EphemeralOwner != s.ID():
		// Of the session before, which ZooKeeper has not ended yet: the znode
		// would go with it.
		_, err = s.Transact(ctx, &zkc.DeleteRequest{Path: a.path, Version: found.Stat.Version}, create)
	case !bytes.Equal(found.Data, a.data):
		_, err = s.Transact(ctx, &zkc.SetDataRequest{Path: a.path, Data: a.data, Version: found.Stat.Version})
	}
	return err
}

// Announced returns the announcements of servers, or of others in their name, by
// id; at most maxAnnounced of them. store.ErrUnavailable.
func (b *Backend) Announced(ctx context.Context) ([]Announcement, error) {
	if err := b.life.ready(ctx); err != nil {
		return nil, err
	}
	names, err := readOn(ctx, b.conns, listing, func(c *zkc.Conn) ([]string, error) {
		names, _, err := c.Children(b.tree.Nodes())
		return names, err
	})
	if errors.Is(err, zkc.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("children of %s: %w", b.tree.Nodes(), err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !changes.IsName(name) })
	slices.Sort(names)
	var all []Announcement
	for _, name := range names[:min(len(names), maxAnnounced)] {
		node, err := readOn(ctx, b.conns, plain, func(c *zkc.Conn) (session.Znode, error) { return session.Get(c, b.tree.Nodes()+"/"+name) })
		switch {
		case errors.Is(err, zkc.ErrNoNode), errors.Is(err, zkc.ErrNoAuth), err == nil && node.Stat.EphemeralOwner == 0:
			continue // removed, not for us, or not tied to a session
		case err != nil:
			return nil, fmt.Errorf("get %s/%s: %w", b.tree.Nodes(), name, err)
		}
		a := Announcement{ID: name}
		if len(node.Data) <= MaxAnnouncement {
			a.Data = node.Data
		}
		all = append(all, a)
	}
	return all, nil
}
