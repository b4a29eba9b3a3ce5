package zk

import (
	"context"
	"errors"
	"fmt"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

// ReadZnode reads a znode outside ROOT, such as one that another program
// keeps. It always asks the ensemble. The errors are ErrConfig for a path that
// is none, store.ErrNotFound for a znode that is missing or empty,
// store.ErrUnavailable, and otherwise what ZooKeeper says (that this user may
// not read it, for one); all name the path.
func (b *Backend) ReadZnode(ctx context.Context, path string) ([]byte, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	node, err := readOn(ctx, b, fresh, func(conn *zkc.Conn) (store.Node, error) { return getNode(conn, path) })
	if errors.Is(err, zkc.ErrNoAuth) {
		return nil, fmt.Errorf("znode %s: its ACL does not let the configured ZooKeeper user read it: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("znode %s: %w", path, err)
	}
	return node.Data, nil
}

// WatchZnode reads a znode as ReadZnode does and gives the answer to notify,
// from a goroutine of the backend: once as soon as ZooKeeper is in reach, after
// every change, and after ZooKeeper was out of reach. It ends with ctx or the
// backend. The error is for a path that is none.
func (b *Backend) WatchZnode(ctx context.Context, path string, notify func([]byte, error)) error {
	if err := checkPath(path); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	b.watchPaths(ctx, []string{path}, func() { notify(b.ReadZnode(ctx, path)) })
	if l, _ := b.link(); l != nil && !b.heard.Load() {
		b.hub.Changed(path) // the watch is set later, but calls are answered already: see serve
	}
	return nil
}
