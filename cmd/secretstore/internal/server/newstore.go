package server

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.uber.org/zap"

	"secretstore/cmd/secretstore/internal/config"
	"secretstore/store"
	"secretstore/store/zk"
)

// keyConfig is the record that every store has.
const keyConfig store.Key = "stores/default/config"

// checkRoot keeps a mistake in the URL of ZooKeeper from becoming the ROOT of a new,
// empty store. A store that is there already is served, with a warning. If ZooKeeper
// does not answer, nothing is known, and nothing is made.
func checkRoot(ctx context.Context, s config.Storage, zkConfig zk.Config, log *zap.Logger) error {
	if s.Doubt == "" {
		return nil
	}
	found, err := zk.HasRecord(ctx, zkConfig, keyConfig)
	switch {
	case err != nil:
		return fmt.Errorf("--storage: the ROOT %q looks like a mistake, and the server cannot tell whether a store is there: %s: %w", s.Root, s.Doubt, err)
	case !found:
		return config.Error{{Where: "--storage", What: fmt.Sprintf("%q is not a ROOT, and no store is there; %s", s.Root, s.Doubt)}}
	}
	log.Warn("the store is kept under a ROOT that looks like a mistake; to move it, export all secrets, import them into a store under the right ROOT, and change --storage",
		zap.String("root", s.Root), zap.String("right", s.Doubt))
	return nil
}

// warnOfLostFile warns if the bbolt file is about to be made, but there was one: it is
// empty, or a bootstrap key was left.
func warnOfLostFile(s config.Storage, log *zap.Logger) {
	info, err := os.Stat(s.Path)
	if err == nil && info.Size() > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return
	}
	const advice = "; if there was a store, stop the server and restore the file from a backup"
	if err == nil {
		log.Warn("the file of the storage is empty: making a new store in it"+advice, zap.String("file", s.Path))
	}
	if _, err := os.Stat(BootstrapKeyFile(s)); err == nil {
		log.Warn("a new store is made beside the bootstrap key of another"+advice, zap.String("key", BootstrapKeyFile(s)))
	}
}

// namesNoSuperuser reports whether someone can sign in only with an account in the
// storage.
func (s *Server) namesNoSuperuser() bool {
	return s.cfg.IAM == config.IAMBuiltin && s.cfg.SuperuserPasswordFile == ""
}

// checkFirstFile is checkFirstSuperuser for a bbolt file that does not exist: to open
// it would make it.
func (s *Server) checkFirstFile() error {
	if !s.namesNoSuperuser() || s.cfg.Storage.Kind != config.Bolt {
		return nil
	}
	if _, err := os.Stat(s.cfg.Storage.Path); !errors.Is(err, os.ErrNotExist) {
		return nil // what is wrong with the file is said when it is opened
	}
	warnOfLostFile(s.cfg.Storage, s.log)
	return config.Error{{Where: "--iam", What: noSuperuser}}
}

// checkFirstSuperuser keeps a new store from being made if no one could sign in to it.
// Of a store that exists, checkFirstStart knows more when it is unsealed.
func (s *Server) checkFirstSuperuser(ctx context.Context, b store.Backend) error {
	if s.namesNoSuperuser() && hasNoStore(ctx, b) {
		return config.Error{{Where: "--iam", What: noSuperuser}}
	}
	return nil
}

// hasNoStore reports whether the storage has answered that it has no store.
func hasNoStore(ctx context.Context, b store.Backend) bool {
	err := whenReached(ctx, func(ctx context.Context) error {
		_, err := b.Get(ctx, keyConfig, store.Latest)
		return err
	})
	return errors.Is(err, store.ErrNotFound)
}

// warnOfNeighbor warns if the storage has no store, but there is one under another ROOT
// beside it: the ROOT may be a mistake.
func (s *Server) warnOfNeighbor(ctx context.Context, b store.Backend) {
	if s.zk == nil || !hasNoStore(ctx, b) {
		return
	}
	others, err := s.zk.Neighbors(ctx, keyConfig)
	if err == nil && len(others) > 0 {
		s.log.Warn("there is no store under this ROOT, but there is one beside it; is --storage right?",
			zap.String("root", s.cfg.Storage.Root), zap.Strings("stores", others))
	}
}
