package zk

import (
	"context"
	"errors"
	"fmt"
	"sync"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/batch"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

// HasRecord reports whether the storage of cfg has the record, and makes nothing:
// Open makes ROOT. ErrConfig, store.ErrUnavailable.
func HasRecord(ctx context.Context, cfg Config, key store.Key) (bool, error) {
	cfg.Servers = append([]string(nil), cfg.Servers...)
	if err := cfg.check(); err != nil {
		return false, err
	}
	path := tree.Tree{Root: cfg.Root}.Path(key)
	var errs []error
	for _, server := range cfg.Servers {
		found, err := existsOn(ctx, &cfg, server, path)
		if err == nil {
			return found, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
	}
	return false, fmt.Errorf("%w: %w", store.ErrUnavailable, errors.Join(errs...))
}

// existsOn asks one member, on a session of its own.
func existsOn(ctx context.Context, cfg *Config, server, path string) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxCall, errTooSlow)
	defer cancel()
	address, err := resolve(ctx, server, maxUnanswered)
	if err != nil {
		return false, err
	}
	s, err := session.New(ctx, session.Config{
		Server: server, Address: address, TLS: cfg.tls(), Timeout: cfg.SessionTimeout, Unanswered: maxUnanswered,
		User: cfg.User, Password: cfg.Password, MaxRequest: batch.MaxPacket, Log: cfg.Log, OnEvent: func(zkc.Event) {}, OnAwake: func() {},
	})
	if err != nil {
		return false, err
	}
	var tending sync.WaitGroup
	tending.Go(func() { s.Tend("/") })
	defer func() {
		s.Fail(errClosed)
		tending.Wait()
		s.Retire()
	}()
	if err := s.Admit(ctx, maxUnanswered); err != nil {
		return false, err
	}
	return session.Do(ctx, s, func(c *zkc.Conn) (bool, error) {
		if _, err := c.Sync(path); err != nil {
			return false, err
		}
		exists, _, err := c.Exists(path)
		return exists, err
	})
}
