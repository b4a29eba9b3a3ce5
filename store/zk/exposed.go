package zk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

// WorldReadable reports whether everybody who reaches ZooKeeper can read the
// record, whoever they are. It always asks the ensemble. store.ErrNotFound,
// store.ErrUnavailable.
func (b *Backend) WorldReadable(ctx context.Context, key store.Key) (bool, error) {
	if err := b.ready(ctx); err != nil {
		return false, err
	}
	if err := checkKey(key); err != nil {
		return false, err
	}
	open, err := readOn(ctx, b, fresh, func(c *zkc.Conn) (bool, error) {
		acl, stat, err := c.GetACL(b.path(key))
		if errors.Is(err, zkc.ErrNoNode) || err == nil && stat.DataLength == 0 {
			return false, store.ErrNotFound
		}
		return slices.ContainsFunc(acl, letsAnyoneRead), err
	})
	switch {
	case errors.Is(err, zkc.ErrNoAuth):
		return false, nil // it is not even for us
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return false, fmt.Errorf("ACL of %s: %w", b.path(key), err)
	}
	return open, err
}

// letsAnyoneRead knows the two schemes that ask for no proof: world, and ip
// with a network that has all addresses in it.
func letsAnyoneRead(acl zkc.ACL) bool {
	if acl.Perms&zkc.PermRead == 0 {
		return false
	}
	return acl.Scheme == "world" && acl.ID == "anyone" || acl.Scheme == "ip" && strings.HasSuffix(acl.ID, "/0")
}
