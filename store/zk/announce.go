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
)

// nodesName is the child of ROOT where servers tell of themselves: in an
// ephemeral znode each, which goes with its session. Like changesName it
// belongs to this package. Whoever can write to ZooKeeper can announce servers
// that there are not: what stands there is for people to read, and no reason to
// connect to anything.
const nodesName = "nodes"

const (
	// MaxAnnouncement bounds what one server says of itself, in bytes, and
	// maxAnnounced how many are read: who writes more is no server of ours.
	MaxAnnouncement = 2 << 10
	maxAnnounced    = 64
	// announceEvery is how often a server makes sure that its znode is there.
	announceEvery = 5 * time.Second
	// announceTries bounds the attempts while somebody else changes the znode.
	announceTries = 3
)

// Announcement is what a server, or somebody in its name, has announced.
type Announcement struct {
	ID   string // of the process: 32 lower-case hex digits
	Data []byte // nil if it was longer than MaxAnnouncement
}

// Announce keeps the last of content in an ephemeral znode until ctx or the
// backend ends, across connections, each of which has a session of its own. id
// is 32 lower-case hex digits that no other process has. The error is for an id
// that is none; a failure to write is logged, once an outage, and tried again.
func (b *Backend) Announce(ctx context.Context, id string, content <-chan []byte) error {
	if !isOwnName(id) {
		return fmt.Errorf("%w: %q is no id to be announced under", ErrConfig, id)
	}
	a := &announcer{b: b, path: b.nodes() + "/" + id}
	again := time.NewTicker(announceEvery)
	defer again.Stop()
	for {
		l, changed := b.link()
		if l != nil && a.data != nil {
			a.report(a.put(ctx, l))
		}
		select {
		case a.data = <-content:
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return nil
		case <-b.closing:
			return nil
		}
	}
}

func (b *Backend) nodes() string { return b.cfg.Root + "/" + nodesName }

// announcer keeps one znode. It belongs to one goroutine.
type announcer struct {
	b      *Backend
	path   string
	data   []byte
	failed bool
}

// report logs the first of several failures. One of the connection is logged
// by whoever makes connections.
func (a *announcer) report(err error) {
	if err != nil && !a.failed && answered(err) {
		a.b.log.Warn("this server cannot be announced to people who look at the others", zap.String("znode", a.path), zap.Error(err))
	}
	a.failed = err != nil
}

// put makes sure that the znode holds data and belongs to the session of l.
func (a *announcer) put(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxCall, errTooSlow)
	defer cancel()
	var err error
	for range announceTries {
		if err = a.tryPut(ctx, l); err == nil || !answered(err) {
			return err
		}
		if errors.Is(err, zkc.ErrNoNode) {
			// The folder is missing, or the znode has just gone.
			if err := a.b.makePath(ctx, l, a.b.nodes()); err != nil {
				return err
			}
		}
	}
	return err
}

func (a *announcer) tryPut(ctx context.Context, l *link) error {
	found, err := readZnode(ctx, l, a.path)
	create := &zkc.CreateRequest{Path: a.path, Data: a.data, Acl: a.b.acl, Flags: zkc.FlagEphemeral}
	switch {
	case errors.Is(err, zkc.ErrNoNode):
		_, err = transact(ctx, l, create)
	case err != nil:
	case found.stat.EphemeralOwner != l.conn.SessionID():
		// Of the session before, which ZooKeeper has not ended yet: the znode
		// would go with it.
		_, err = transact(ctx, l, &zkc.DeleteRequest{Path: a.path, Version: found.stat.Version}, create)
	case !bytes.Equal(found.data, a.data):
		_, err = transact(ctx, l, &zkc.SetDataRequest{Path: a.path, Data: a.data, Version: found.stat.Version})
	}
	return err
}

// znode is one as it was read.
type znode struct {
	data []byte
	stat *zkc.Stat
}

func getZnode(c *zkc.Conn, path string) (znode, error) {
	data, stat, err := c.Get(path)
	return znode{data, stat}, err
}

func readZnode(ctx context.Context, l *link, path string) (znode, error) {
	return do(ctx, l, func(c *zkc.Conn) (znode, error) { return getZnode(c, path) })
}

// Announced returns what servers, or others in their name, have announced, by
// id; at most maxAnnounced of them. store.ErrUnavailable.
func (b *Backend) Announced(ctx context.Context) ([]Announcement, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	names, err := readOn(ctx, b, listing, func(c *zkc.Conn) ([]string, error) {
		names, _, err := c.Children(b.nodes())
		return names, err
	})
	if errors.Is(err, zkc.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("children of %s: %w", b.nodes(), err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isOwnName(name) })
	slices.Sort(names)
	var all []Announcement
	for _, name := range names[:min(len(names), maxAnnounced)] {
		node, err := readOn(ctx, b, plain, func(c *zkc.Conn) (znode, error) { return getZnode(c, b.nodes()+"/"+name) })
		switch {
		case errors.Is(err, zkc.ErrNoNode), errors.Is(err, zkc.ErrNoAuth), err == nil && node.stat.EphemeralOwner == 0:
			continue // gone, not for us, or nothing that goes with its server
		case err != nil:
			return nil, fmt.Errorf("get %s/%s: %w", b.nodes(), name, err)
		}
		a := Announcement{ID: name}
		if len(node.data) <= MaxAnnouncement {
			a.Data = node.data
		}
		all = append(all, a)
	}
	return all, nil
}
