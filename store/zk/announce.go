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

	"secretstore/store"
	"secretstore/store/zk/internal/changes"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

const (
	// maxNodes bounds how many announcements to people are read.
	maxNodes = 64
	// announceEvery is how often a server makes sure that its znode is there.
	announceEvery = 5 * time.Second
	// announceTries bounds the attempts while another program changes the znode.
	announceTries = 3
)

// Announce implements store.Announcer. The announcement is an ephemeral znode.
func (b *Backend) Announce(ctx context.Context, id string, content <-chan []byte) error {
	return b.announceIn(ctx, &announcer{folder: b.tree.Peers()}, id, content)
}

// AnnounceNode keeps the last of content in an ephemeral znode, for people to
// read, until ctx or the backend ends, across connections, each of which has a
// session of its own. id is as in Announce, and so is the error. A failure to
// write is logged, once an outage, and tried again. The znode is written again from
// time to time, to compare clocks: see Clock.
func (b *Backend) AnnounceNode(ctx context.Context, id string, content <-chan []byte) error {
	return b.announceIn(ctx, &announcer{folder: b.tree.Nodes(), clock: &b.clock}, id, content)
}

func (b *Backend) announceIn(ctx context.Context, a *announcer, id string, content <-chan []byte) error {
	if !changes.IsName(id) {
		return fmt.Errorf("%w: %q is not an id of 32 hex digits", ErrConfig, id)
	}
	a.life, a.tree, a.log, a.path = b.life, b.tree, b.log, a.folder+"/"+id
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
	folder string
	path   string
	clock  *clock // nil: clocks are not compared
	data   []byte
	failed bool
}

// report logs the first of several failures. A failure of the connection is
// logged by connections.
func (a *announcer) report(err error) {
	if err != nil && !a.failed && session.Answered(err) {
		a.log.Warn("cannot announce this server", zap.String("znode", a.path), zap.Error(err))
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
			if err := s.MakePath(ctx, a.folder, a.tree.ACL); err != nil {
				return err
			}
		}
	}
	return err
}

func (a *announcer) tryPut(ctx context.Context, s *session.Session) error {
	found, err := s.Get(ctx, a.path)
	create := &zkc.CreateRequest{Path: a.path, Data: a.data, Acl: a.tree.ACL, Flags: zkc.FlagEphemeral}
	var ops []any
	switch {
	case errors.Is(err, zkc.ErrNoNode):
		ops = []any{create}
	case err != nil:
		return err
	case found.Stat.EphemeralOwner != s.ID():
		// Of the session before, which ZooKeeper has not ended yet: the znode
		// would go with it.
		ops = []any{&zkc.DeleteRequest{Path: a.path, Version: found.Stat.Version}, create}
	case !bytes.Equal(found.Data, a.data), a.clock.due():
		ops = []any{&zkc.SetDataRequest{Path: a.path, Data: a.data, Version: found.Stat.Version}}
	default:
		return nil
	}
	sent := time.Now()
	if _, err := s.Transact(ctx, ops...); err != nil {
		return err
	}
	return a.clock.compare(ctx, s, a.path, sent, time.Now())
}

// Announcements implements store.Announcer. Znodes that are not tied to a session
// are not announcements.
func (b *Backend) Announcements(ctx context.Context) ([]store.Announcement, error) {
	found, err := b.announcedIn(ctx, b.tree.Peers(), store.MaxAnnouncements)
	if err == nil && found.more {
		return nil, fmt.Errorf("%w: %s", store.ErrTooManyAnnouncements, b.tree.Peers())
	}
	return found.all, err
}

// Nodes returns the announcements of servers to people, or of others in their
// name, by id; at most maxNodes of them. Everyone who can write to ZooKeeper can
// announce servers that do not exist: it is for people to read, and never a reason
// to connect to anything. store.ErrUnavailable.
func (b *Backend) Nodes(ctx context.Context) ([]store.Announcement, error) {
	found, err := b.announcedIn(ctx, b.tree.Nodes(), maxNodes)
	return found.all, err
}

// announcements is what a folder of announcements holds.
type announcements struct {
	all  []store.Announcement
	more bool // some were not read
}

// announcedIn reads the first znodes, up to limit, of a folder of announcements.
// All is read on one connection behind one sync point, so what is missing has
// ended.
func (b *Backend) announcedIn(ctx context.Context, folder string, limit int) (announcements, error) {
	if err := b.life.ready(ctx); err != nil {
		return announcements{}, err
	}
	found, err := readOn(ctx, b.conns, listing, func(c *zkc.Conn) (announcements, error) {
		names, _, err := c.Children(folder)
		if errors.Is(err, zkc.ErrNoNode) {
			return announcements{}, nil
		}
		if err != nil {
			return announcements{}, err
		}
		names = slices.DeleteFunc(names, func(name string) bool { return !changes.IsName(name) })
		slices.Sort(names)
		all, err := announced(c, folder, names[:min(len(names), limit)])
		return announcements{all, len(names) > limit}, err
	})
	if err != nil {
		return announcements{}, fmt.Errorf("announcements in %s: %w", folder, err)
	}
	return found, nil
}

// announced reads the announcements that are tied to a session.
func announced(c *zkc.Conn, folder string, names []string) ([]store.Announcement, error) {
	var all []store.Announcement
	for _, name := range names {
		node, err := session.Get(c, folder+"/"+name)
		switch {
		case errors.Is(err, zkc.ErrNoNode), err == nil && node.Stat.EphemeralOwner == 0:
			continue
		case err != nil && !errors.Is(err, zkc.ErrNoAuth):
			return nil, err
		}
		a := store.Announcement{ID: name}
		if err == nil && len(node.Data) <= store.MaxAnnouncement {
			a.Data = node.Data
		}
		all = append(all, a)
	}
	return all, nil
}
