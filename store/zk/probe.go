package zk

import (
	"context"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

// HasRecord reports whether the storage of cfg has the record, and makes nothing:
// Open makes ROOT. ErrConfig, store.ErrUnavailable.
func HasRecord(ctx context.Context, cfg Config, key store.Key) (found bool, err error) {
	path := tree.Tree{Root: cfg.Root}.Path(key)
	err = onAMember(ctx, cfg, func(ctx context.Context, s *session.Session) error {
		ctx, cancel := context.WithTimeoutCause(ctx, maxCall, errTooSlow)
		defer cancel()
		found, err = session.Do(ctx, s, func(c *zkc.Conn) (bool, error) {
			if _, err := c.Sync(path); err != nil {
				return false, err
			}
			exists, _, err := c.Exists(path)
			return exists, err
		})
		return err
	})
	return found, err
}
