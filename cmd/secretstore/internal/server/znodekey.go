package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/store"
	"secretstore/store/zk"
)

const (
	znodeOption = "auth-secret-znode"
	// reachWait is how long a start waits for ZooKeeper to check something, and
	// reachRetry the pause between two attempts.
	reachWait  = 10 * time.Second
	reachRetry = 100 * time.Millisecond
	// znodeEvery is how often the ACLs are checked: ZooKeeper does not report
	// changes of an ACL.
	znodeEvery = 5 * time.Second
)

// errExposed: the key in the znode may be that of an attacker.
var errExposed = errors.New("others could sign themselves a superuser's token")

// exposed returns an error if others can write the znode.
func exposed(e zk.Exposure) error {
	if e.Writable == "" {
		return nil
	}
	return fmt.Errorf("%w: %s; restrict it with setAcl in zkCli.sh, or use --auth-jwks; --%s-insecure accepts it", errExposed, e.Writable, znodeOption)
}

// checkZnode refuses to start with a key that others can replace. Without ZooKeeper it
// refuses nothing: there is no key then.
func (s *Server) checkZnode(ctx context.Context) error {
	if s.zk == nil || s.cfg.AuthSecretZnode == "" || s.cfg.AuthSecretZnodeInsecure {
		return nil
	}
	var e zk.Exposure
	err := whenReached(ctx, func(ctx context.Context) (err error) {
		e, err = s.zk.ZnodeExposure(ctx, s.cfg.AuthSecretZnode)
		return err
	})
	if err == nil && exposed(e) != nil {
		return config.Error(config.Problems("--"+znodeOption, exposed(e)))
	}
	return nil // it is well, or watching it reports what is wrong
}

// whenReached asks until the storage answers, for reachWait at most.
func whenReached(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	tick := time.NewTicker(reachRetry)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// znodeKey takes the key of tokens from a znode.
type znodeKey struct {
	backend  *zk.Backend
	path     string
	insecure bool
	verifier *token.Verifier
	report   func(error) // what taking the key has led to
	warn     func(error) // about a key that was taken

	mu   sync.Mutex // one look at a time
	last znodeState // guarded by mu
}

// znodeState is what a look found: a hash, because the key must not be kept.
type znodeState struct {
	sum      [sha256.Size]byte
	failure  string
	exposure zk.Exposure
}

func (s *Server) newZnodeKey() *znodeKey {
	return &znodeKey{
		backend: s.zk, path: s.cfg.AuthSecretZnode, insecure: s.cfg.AuthSecretZnodeInsecure, verifier: s.parts.verifier,
		report: s.watchKeys(znodeOption).Report,
		warn: func(err error) {
			s.notices.report(znodeOption, err)
			s.log.Warn("the key of tokens in ZooKeeper is exposed; use --auth-jwks", zap.String("option", znodeOption), zap.Error(err))
		},
	}
}

// watch follows the znode until ctx ends.
func (k *znodeKey) watch(ctx context.Context) error {
	if err := k.backend.WatchZnode(ctx, k.path, func(content []byte, err error) { k.look(ctx, content, err) }); err != nil {
		return err
	}
	tick := time.NewTicker(znodeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if content, err := k.backend.ReadZnode(ctx, k.path); !errors.Is(err, store.ErrUnavailable) {
				k.look(ctx, content, err)
			}
		}
	}
}

// look takes the content of the znode, or the reason why it could not be read, unless
// it has seen the same before.
func (k *znodeKey) look(ctx context.Context, content []byte, err error) {
	defer clear(content)
	k.mu.Lock()
	defer k.mu.Unlock()
	var e zk.Exposure
	if err == nil || errors.Is(err, store.ErrNotFound) {
		var failure error
		if e, failure = k.backend.ZnodeExposure(ctx, k.path); failure != nil {
			err = failure // without it, nothing is taken
		}
	}
	if ctx.Err() != nil {
		return
	}
	now := znodeState{sha256.Sum256(content), "", e}
	if err != nil {
		now.failure = err.Error()
	}
	if now == k.last {
		return
	}
	k.last = now
	k.take(content, err, e)
}

func (k *znodeKey) take(content []byte, err error, e zk.Exposure) {
	danger := exposed(e)
	switch {
	case danger != nil && !k.insecure:
		err = danger
	case err == nil:
		key := token.FirstLine(content)
		err = k.verifier.SetHMACKey(key)
		clear(key)
	}
	k.report(err)
	switch {
	case err != nil:
	case danger != nil:
		k.warn(danger)
	case e.Readable != "":
		k.warn(fmt.Errorf("%w: %s", errExposed, e.Readable))
	}
}
