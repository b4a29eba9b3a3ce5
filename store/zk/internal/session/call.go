package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

var (
	// ErrLost: the connection ended before the answer came. Whether a write took
	// effect is not known.
	ErrLost = errors.New("connection to ZooKeeper lost")
	// ErrRefused: the server has refused a transaction, and nothing of it has
	// taken effect.
	ErrRefused = errors.New("refused by ZooKeeper")
)

// Answered says whether err is the server's answer to a request, as opposed to a
// failure on the way. An error that is not listed is a failure: the outcome of a
// write is then looked up, instead of taking the write for refused.
func Answered(err error) bool {
	for _, answer := range []error{
		zkc.ErrNoNode, zkc.ErrNodeExists, zkc.ErrBadVersion, zkc.ErrNotEmpty, zkc.ErrNoAuth,
		zkc.ErrNoChildrenForEphemerals, zkc.ErrInvalidACL, zkc.ErrAuthFailed, zkc.ErrBadArguments,
		zkc.ErrInvalidPath, // from the library, about names that others have made; nothing was sent
		store.ErrNotFound,  // from calls that find no record
		ErrRefused,
	} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// Do makes one call on s and returns by the end of ctx or of the session. An
// error is the server's (see Answered), or matches ErrLost, or matches
// store.ErrUnavailable when ctx ended first.
func Do[T any](ctx context.Context, s *Session, call func(*zkc.Conn) (T, error)) (T, error) {
	type reply struct {
		value T
		err   error
	}
	var zero T
	select {
	case s.calls.slots <- struct{}{}:
	case <-ctx.Done():
		return zero, expired(ctx)
	case <-s.ended:
		return zero, ErrLost
	}
	answers := make(chan reply, 1)
	go func() {
		defer s.calls.end(s.calls.begin())
		value, err := call(s.conn)
		s.heard(err)
		if err != nil && !Answered(err) {
			err = fmt.Errorf("%w: %w", ErrLost, err)
		}
		answers <- reply{value, err}
	}()
	select {
	case r := <-answers:
		return r.value, r.err
	case <-ctx.Done():
		return zero, expired(ctx)
	case <-s.ended:
	}
	select {
	case r := <-answers: // it came, and then the connection ended
		return r.value, r.err
	default:
		return zero, ErrLost
	}
}

func expired(ctx context.Context) error {
	return fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx))
}

// Transact does ops in one transaction. With ErrRefused the results say which
// operation it was; the reason may be one that the library does not know (a
// quota, for one), which alone would look like a failure on the way.
func (s *Session) Transact(ctx context.Context, ops ...any) ([]zkc.MultiResponse, error) {
	return Do(ctx, s, func(c *zkc.Conn) ([]zkc.MultiResponse, error) {
		results, err := c.Multi(ops...)
		switch at := Culprit(results); {
		case err == nil && len(results) != len(ops):
			err = fmt.Errorf("ZooKeeper answers %d operations with %d results", len(ops), len(results))
		case at >= 0 && len(results) == len(ops):
			err = fmt.Errorf("%w: %w", ErrRefused, results[at].Error)
		}
		return results, err
	})
}

// Culprit returns which operation was refused, -1 for none. (The ones after it
// have errors as well.)
func Culprit(results []zkc.MultiResponse) int {
	return slices.IndexFunc(results, func(r zkc.MultiResponse) bool { return r.Error != nil })
}

// Exists returns the state of the znode path, nil if there is none.
func (s *Session) Exists(ctx context.Context, path string) (*zkc.Stat, error) {
	return Do(ctx, s, func(c *zkc.Conn) (*zkc.Stat, error) {
		exists, stat, err := c.Exists(path)
		if !exists {
			return nil, err
		}
		return stat, err
	})
}

// Children returns the names of the znodes directly below path.
func (s *Session) Children(ctx context.Context, path string) ([]string, error) {
	return Do(ctx, s, func(c *zkc.Conn) ([]string, error) {
		names, _, err := c.Children(path)
		return names, err
	})
}

// Znode is a znode as it was read.
type Znode struct {
	Data []byte
	Stat *zkc.Stat
}

// Get reads the znode path.
func (s *Session) Get(ctx context.Context, path string) (Znode, error) {
	return Do(ctx, s, func(c *zkc.Conn) (Znode, error) { return Get(c, path) })
}

// Get reads the znode path on c.
func Get(c *zkc.Conn, path string) (Znode, error) {
	data, stat, err := c.Get(path)
	return Znode{data, stat}, err
}

// SyncPoint returns when the leader and a majority have agreed on a transaction
// that does nothing: what is read on s afterwards is at least as new as all
// writes acknowledged before. (ZooKeeper's own sync does not do: a leader that
// was deposed answers it.) The znode path must exist.
func (s *Session) SyncPoint(ctx context.Context, path string) error {
	_, err := s.Transact(ctx, &zkc.CheckVersionRequest{Path: path, Version: -1})
	return err
}

// MakePath makes the znode path with empty data and acl, and the missing ones
// above it.
func (s *Session) MakePath(ctx context.Context, path string, acl []zkc.ACL) error {
	var missing []string
	for p := path; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
		stat, err := s.Exists(ctx, p)
		if err != nil {
			return err
		}
		if stat != nil {
			break
		}
		missing = append(missing, p)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		_, err := Do(ctx, s, func(c *zkc.Conn) (string, error) {
			return c.Create(missing[i], []byte{}, zkc.FlagPersistent, acl)
		})
		if err != nil && !errors.Is(err, zkc.ErrNodeExists) {
			return fmt.Errorf("create %s: %w", missing[i], err)
		}
	}
	return nil
}
