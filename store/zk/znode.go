package zk

import (
	"context"
	"errors"
	"fmt"
	"path"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/access"
	"secretstore/store/zk/internal/tree"
)

// ReadZnode reads a znode outside ROOT, such as one that another program
// keeps. It always asks the ensemble. The errors are ErrConfig for an invalid
// path, store.ErrNotFound for a znode that is missing or empty,
// store.ErrUnavailable, and otherwise ZooKeeper's (that this user may not read it,
// for one); all name the path.
func (b *Backend) ReadZnode(ctx context.Context, path string) ([]byte, error) {
	if err := b.life.ready(ctx); err != nil {
		return nil, err
	}
	if err := tree.CheckPath(path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	node, err := readOn(ctx, b.conns, fresh, func(conn *zkc.Conn) (store.Node, error) { return getNode(conn, path) })
	if errors.Is(err, zkc.ErrNoAuth) {
		return nil, fmt.Errorf("znode %s: its ACL does not let the configured ZooKeeper user read it: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("znode %s: %w", path, err)
	}
	return node.Data, nil
}

// Exposure is what others can do with a znode: everybody, and everybody with a
// certain address. The identities that an ACL names and that have to be proved
// (digest, sasl, x509) are not others. Each text says why; "" means that they cannot.
type Exposure = access.Exposure

// ZnodeExposure says what others can do with a znode outside ROOT. It always asks
// the ensemble. ErrConfig for an invalid path, store.ErrUnavailable, and otherwise
// ZooKeeper's errors.
func (b *Backend) ZnodeExposure(ctx context.Context, znode string) (Exposure, error) {
	if err := b.life.ready(ctx); err != nil {
		return Exposure{}, err
	}
	if err := tree.CheckPath(znode); err != nil {
		return Exposure{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return exposureOf(znode, func(at string) (access.Level, error) {
		return readOn(ctx, b.conns, fresh, func(c *zkc.Conn) (access.Level, error) {
			l, _, err := levelOf(c, at)
			return l, err
		})
	})
}

// WatchZnode reads a znode as ReadZnode does and gives the answer to notify,
// from a goroutine of the backend: once as soon as ZooKeeper is in reach, after
// every change, and after ZooKeeper was out of reach. It ends with ctx or the
// backend. The error is for an invalid path.
func (b *Backend) WatchZnode(ctx context.Context, path string, notify func([]byte, error)) error {
	if err := tree.CheckPath(path); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	b.watchPaths(ctx, []string{path}, func() { notify(b.ReadZnode(ctx, path)) })
	if c, _ := b.conns.now(); c != nil && !b.cache.followed.Load() {
		b.hub.Changed(path) // the watch is set later, but calls are answered already: see connections.serve
	}
	return nil
}

// maxNeighbors bounds how many znodes Neighbors asks.
const maxNeighbors = 50

// Neighbors returns the znodes beside ROOT that have the record, as another store
// would. It looks at the first 50. store.ErrUnavailable, and otherwise ZooKeeper's
// errors.
func (b *Backend) Neighbors(ctx context.Context, key store.Key) ([]string, error) {
	folder := path.Dir(b.tree.Root)
	names, err := readOn(ctx, b.conns, plain, func(c *zkc.Conn) ([]string, error) {
		names, _, err := c.Children(folder)
		return names, err
	})
	var found []string
	for _, name := range names[:min(len(names), maxNeighbors)] {
		root := path.Join(folder, name)
		if root == b.tree.Root {
			continue
		}
		exists, err := readOn(ctx, b.conns, plain, func(c *zkc.Conn) (bool, error) {
			exists, _, err := c.Exists(root + "/" + key)
			return exists, err
		})
		if err != nil {
			return found, err
		}
		if exists {
			found = append(found, root)
		}
	}
	return found, err
}
