package zk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/session"
)

const (
	// readAttempts is how often a Reader tries a call, each time with the next
	// member, and readPause what it waits in between.
	readAttempts = 6
	readPause    = 250 * time.Millisecond
)

// ErrDenied: the ACL of a znode keeps this user from reading it.
var ErrDenied = errors.New("ZooKeeper does not let this user read it")

// Reader reads any znodes of an ensemble, also those of other programs. It changes
// nothing, and keeps nothing in memory.
type Reader struct {
	cfg Config

	mu   sync.Mutex
	s    *session.Session // nil if there is none; guarded by mu
	end  func()           // of s; guarded by mu
	next int              // the member to ask next; guarded by mu
}

// NewReader returns a Reader, which connects when it is asked. ErrConfig.
func NewReader(cfg Config) (*Reader, error) {
	cfg.Servers = slices.Clone(cfg.Servers)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Reader{cfg: cfg}, nil
}

// Close ends the connection.
func (r *Reader) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s != nil {
		r.end()
		r.s = nil
	}
}

// Read returns the data of a znode. store.ErrNotFound, ErrDenied,
// store.ErrUnavailable.
func (r *Reader) Read(ctx context.Context, path string) ([]byte, error) {
	return readWith(ctx, r, func(c *zkc.Conn) ([]byte, error) {
		data, _, err := c.Get(path)
		return data, err
	})
}

// Folder is a znode without its data.
type Folder struct {
	Children []string
	HasData  bool
}

// Folder returns the names of the znodes directly below path, and whether the znode
// has data. store.ErrNotFound, ErrDenied, store.ErrUnavailable.
func (r *Reader) Folder(ctx context.Context, path string) (Folder, error) {
	return readWith(ctx, r, func(c *zkc.Conn) (Folder, error) {
		names, stat, err := c.Children(path)
		if err != nil {
			return Folder{}, err
		}
		return Folder{names, stat.DataLength > 0}, nil
	})
}

func readWith[T any](ctx context.Context, r *Reader, call func(*zkc.Conn) (T, error)) (value T, err error) {
	for attempt := range readAttempts {
		if attempt > 0 {
			sleep(ctx, readPause)
		}
		if ctx.Err() != nil {
			return value, context.Cause(ctx)
		}
		var s *session.Session
		if s, err = r.session(ctx); err == nil {
			value, err = session.Do(ctx, s, call)
		}
		switch {
		case errors.Is(err, zkc.ErrNoNode):
			return value, store.ErrNotFound
		case errors.Is(err, zkc.ErrNoAuth):
			return value, ErrDenied
		case err == nil || session.Answered(err):
			return value, err
		}
	}
	return value, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// session returns the session, or a new one with the next member.
func (r *Reader) session(ctx context.Context) (*session.Session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s != nil {
		select {
		case <-r.s.Ended():
			r.end()
			r.s = nil
		default:
			return r.s, nil
		}
	}
	server := r.cfg.Servers[r.next%len(r.cfg.Servers)]
	r.next++
	s, end, err := connect(ctx, &r.cfg, server)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", server, err)
	}
	r.s, r.end = s, end
	return s, nil
}
