package zk

import (
	"context"
	"errors"
	"fmt"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/access"
	"secretstore/store/zk/internal/memory"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

// reads answers from memory, or asks ZooKeeper.
type reads struct {
	life  *lifetime
	tree  tree.Tree
	cache *recordCache
	conns *connections
}

func (r *reads) get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if err := r.life.ready(ctx); err != nil {
		return store.Node{}, err
	}
	if err := tree.CheckKey(key); err != nil {
		return store.Node{}, err
	}
	d, way := store.RecordDigest(key), fresh
	if c == store.Cached {
		e, age, err := r.cache.lookup(d)
		switch {
		case err != nil:
			return store.Node{}, err
		case e != nil && e.Missing() && age == 0:
			r.cache.hits.Add(1)
			return store.Node{}, store.ErrNotFound
		case e != nil && !e.Missing(): // an Age cannot say that a record is missing
			r.cache.hits.Add(1)
			return e.Node(age), nil
		}
		r.cache.misses.Add(1)
		way = plain
	} else {
		var cancel context.CancelFunc
		ctx, cancel = r.life.withinCall(ctx) // both questions together
		defer cancel()
		if e := r.confirmed(ctx, key, d); e != nil {
			return e.Node(0), nil
		}
	}
	ticket, asked := r.cache.entries.Ticket(d.ID), session.Now()
	node, err := readOn(ctx, r.conns, way, func(conn *zkc.Conn) (store.Node, error) { return getNode(conn, r.tree.Path(key)) })
	switch {
	case errors.Is(err, store.ErrNotFound):
		r.cache.keep(d.ID, ticket, &memory.Entry{Rest: d.Rest, Read: asked})
		return store.Node{}, store.ErrNotFound
	case err != nil:
		if e, age := r.lastResort(d, c, err); e != nil && !e.Missing() {
			return e.Node(age), nil
		}
		return store.Node{}, fmt.Errorf("get %s: %w", r.tree.Path(key), unusable(err))
	}
	if node.Version == 0 {
		r.cache.existing.Add(d.ID)
	}
	r.cache.keep(d.ID, ticket, &memory.Entry{Rest: d.Rest, Read: asked, Data: node.Data, Version: node.Version, Revision: node.Revision})
	return node, nil
}

// confirmed returns what is in memory of a record, if the storage held the same at
// some time during the call; otherwise nil: the record has to be read.
//
// The ensemble is asked whether the znode is at the version that is in memory. A
// quorum has to agree, so a deposed leader cannot answer. This is not enough: the
// versions of a znode that was deleted and made again begin at 0 again. But a
// server that does so publishes it, and the connection that answers delivers the
// events of all change records before the answer. So the entry is right if it is
// still in memory once all of these have been followed.
//
// A znode that was deleted and made again by hand, to the very same version, goes
// unnoticed for recheckAfter.
func (r *reads) confirmed(ctx context.Context, key store.Key, d store.Digest) *memory.Entry {
	e, ok := r.cache.entries.Get(d)
	if !ok || e.Missing() || session.Now()-e.Read > int64(r.cache.recheckAfter) {
		return nil
	}
	c, _ := r.conns.now()
	if c == nil || !c.syncs.Confirm(ctx, r.tree.Path(key), int32(e.Version)) || !c.fired.allFollowed() {
		return nil
	}
	if now, ok := r.cache.entries.Get(d); !ok || now != e || e.Doubted.Load() != 0 {
		return nil
	}
	return e
}

// getNode reads a record. A znode with empty data is not one.
func getNode(conn *zkc.Conn, path string) (store.Node, error) {
	data, stat, err := conn.Get(path)
	if errors.Is(err, zkc.ErrNoNode) || err == nil && len(data) == 0 {
		return store.Node{}, store.ErrNotFound
	}
	if err != nil {
		return store.Node{}, err
	}
	return store.Node{Data: data, Version: store.Version(stat.Version), Revision: store.Revision(stat.Mzxid)}, nil
}

func (r *reads) children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	if err := r.life.ready(ctx); err != nil {
		return store.Listing{}, err
	}
	if key != "" {
		if err := tree.CheckKey(key); err != nil {
			return store.Listing{}, err
		}
	}
	d := store.ListingDigest(key)
	if c == store.Cached {
		e, age, err := r.cache.lookup(d)
		if err != nil {
			return store.Listing{}, err
		}
		if e != nil {
			r.cache.hits.Add(1)
			return e.Listing(age), nil
		}
		r.cache.misses.Add(1)
	}
	ticket, asked := r.cache.entries.Ticket(d.ID), session.Now()
	names, err := readOn(ctx, r.conns, listing, func(conn *zkc.Conn) ([]string, error) {
		names, _, err := conn.Children(r.tree.Path(key))
		if errors.Is(err, zkc.ErrNoNode) {
			return nil, nil
		}
		return names, err
	})
	if err != nil {
		if e, age := r.lastResort(d, c, err); e != nil {
			return e.Listing(age), nil
		}
		return store.Listing{}, fmt.Errorf("children of %s: %w", r.tree.Path(key), unusable(err))
	}
	valid := tree.KeepValid(key, names)
	e := memory.NewListing(d.Rest, asked, valid, len(names)-len(valid))
	r.cache.keep(d.ID, ticket, e)
	return e.Listing(0), nil
}

// unusable marks an error that concerns one znode and not ZooKeeper.
func unusable(err error) error {
	if errors.Is(err, zkc.ErrNoAuth) {
		return fmt.Errorf("%w: %w", store.ErrUnusable, err)
	}
	return err
}

// lastResort answers from memory, with an age, after ZooKeeper could not be asked.
func (r *reads) lastResort(d store.Digest, c store.Consistency, failure error) (*memory.Entry, time.Duration) {
	if c != store.Cached || !errors.Is(failure, store.ErrUnavailable) {
		return nil, 0
	}
	e, age, err := r.cache.lookup(d)
	if err != nil || age == 0 {
		return nil, 0
	}
	return e, age
}

// readTries bounds how many connections one read may outlive.
const readTries = 3

// route is how a read finds its connection.
type route int

const (
	plain   route = iota // the connection that writes and follows changes
	fresh                // one on which a sync point was made for the read
	listing              // the same, but one that is for large replies
)

// measured returns what a read that goes this way is measured as.
func (way route) measured() store.Call {
	if way == listing {
		return store.CallList
	}
	return store.CallRead
}

// readOn reads with call, and measures it. An error is the server's, or matches
// store.ErrUnavailable.
func readOn[T any](ctx context.Context, conns *connections, way route, call func(*zkc.Conn) (T, error)) (T, error) {
	began := time.Now()
	value, err := tryReads(ctx, conns, way, call)
	conns.cfg.Meter(way.measured(), time.Since(began), err)
	return value, err
}

// tryReads is readOn without the measurement.
func tryReads[T any](ctx context.Context, conns *connections, way route, call func(*zkc.Conn) (T, error)) (T, error) {
	ctx, cancel := conns.life.withinCall(ctx)
	defer cancel()
	var zero T
	var err error
	for try := range readTries {
		var s *session.Session
		if s, err = conns.choose(ctx, way, try); err == nil {
			// On the connection of the sync point: another member may be behind it.
			var value T
			value, err = session.Do(ctx, s, call)
			if !errors.Is(err, session.ErrLost) {
				return value, err
			}
			s.Fail(err)
		}
		if !errors.Is(err, session.ErrLost) {
			return zero, err
		}
		if err := conns.life.ready(ctx); err != nil {
			return zero, err
		}
	}
	return zero, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// WorldReadable implements store.ExposureReporter. It always asks the ensemble.
func (b *Backend) WorldReadable(ctx context.Context, key store.Key) (bool, error) {
	if err := b.life.ready(ctx); err != nil {
		return false, err
	}
	if err := tree.CheckKey(key); err != nil {
		return false, err
	}
	path := b.tree.Path(key)
	open, err := readOn(ctx, b.conns, fresh, func(c *zkc.Conn) (bool, error) {
		acl, stat, err := c.GetACL(path)
		if errors.Is(err, zkc.ErrNoNode) || err == nil && stat.DataLength == 0 {
			return false, store.ErrNotFound
		}
		return access.WorldReadable(acl), err
	})
	switch {
	case errors.Is(err, zkc.ErrNoAuth):
		return false, nil // not even this server may read it
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return false, fmt.Errorf("ACL of %s: %w", path, err)
	}
	return open, err
}
