package zk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

// changesName and nodesName are the children of ROOT that no key may lie under.
const changesName = "changes"

func reserved(name string) bool { return name == changesName || name == nodesName }

// checkKey is store.ValidKey, and refuses what belongs to this package.
func checkKey(key store.Key) error {
	if top, _, _ := strings.Cut(key, "/"); reserved(top) {
		return fmt.Errorf("%w: %q is reserved", store.ErrInvalidKey, top)
	}
	return store.ValidKey(key)
}

// path returns the znode of a key; of the empty key, ROOT.
func (b *Backend) path(key store.Key) string {
	if key == "" {
		return b.cfg.Root
	}
	return b.cfg.Root + "/" + key
}

// key returns the key of a znode.
func (b *Backend) key(path string) (store.Key, bool) {
	return strings.CutPrefix(path, b.cfg.Root+"/")
}

// Get implements store.Backend.
func (b *Backend) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	if err := b.ready(ctx); err != nil {
		return store.Node{}, err
	}
	if err := checkKey(key); err != nil {
		return store.Node{}, err
	}
	d, way := store.RecordDigest(key), fresh
	if c == store.Cached {
		e, age, err := b.remembered(d)
		switch {
		case err != nil:
			return store.Node{}, err
		case e != nil && e.missing() && age == 0:
			return store.Node{}, store.ErrNotFound
		case e != nil && !e.missing(): // that it is missing cannot be told with an age
			return e.node(age), nil
		}
		way = plain
	}
	ticket, asked := b.cache.ticket(d.ID), sinceBase()
	node, err := readOn(ctx, b, way, func(conn *zkc.Conn) (store.Node, error) { return getNode(conn, b.path(key)) })
	switch {
	case errors.Is(err, store.ErrNotFound):
		b.remember(d.ID, ticket, &entry{rest: d.Rest, read: asked})
		return store.Node{}, store.ErrNotFound
	case err != nil:
		if e, age := b.lastResort(d, c, err); e != nil && !e.missing() {
			return e.node(age), nil
		}
		return store.Node{}, fmt.Errorf("get %s: %w", b.path(key), err)
	}
	if node.Version == 0 {
		b.existing.add(d.ID)
	}
	b.remember(d.ID, ticket, &entry{rest: d.Rest, read: asked, data: node.Data, version: node.Version, revision: node.Revision})
	return node, nil
}

// getNode reads a record; one with empty data is none.
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

// Children implements store.Backend. Names that no key can have are left out.
func (b *Backend) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	if err := b.ready(ctx); err != nil {
		return store.Listing{}, err
	}
	if key != "" {
		if err := checkKey(key); err != nil {
			return store.Listing{}, err
		}
	}
	d := store.ListingDigest(key)
	if c == store.Cached {
		e, age, err := b.remembered(d)
		if err != nil {
			return store.Listing{}, err
		}
		if e != nil {
			return e.listing(age), nil
		}
	}
	ticket, asked := b.cache.ticket(d.ID), sinceBase()
	names, err := readOn(ctx, b, listing, func(conn *zkc.Conn) ([]string, error) {
		names, _, err := conn.Children(b.path(key))
		if errors.Is(err, zkc.ErrNoNode) {
			return nil, nil
		}
		return names, err
	})
	if err != nil {
		if e, age := b.lastResort(d, c, err); e != nil {
			return e.listing(age), nil
		}
		return store.Listing{}, fmt.Errorf("children of %s: %w", b.path(key), err)
	}
	e := newListing(d.Rest, asked, keepValid(key, names))
	b.remember(d.ID, ticket, e)
	return e.listing(0), nil
}

// keepValid drops names that others have made and that no key can have.
func keepValid(parent store.Key, names []string) []string {
	valid := names[:0]
	for _, name := range names {
		if strings.Contains(name, "/") || store.ValidKey(name) != nil || parent == "" && reserved(name) {
			continue
		}
		valid = append(valid, name)
	}
	return valid
}

// remembered answers from memory: an entry and its age, or nil if the storage
// has to be asked.
func (b *Backend) remembered(d store.Digest) (*entry, time.Duration, error) {
	e, ok := b.cache.get(d)
	if !ok {
		return nil, 0, nil
	}
	var last int64
	if l := b.live.Load(); l != nil {
		if yes, count := l.asleep(); yes {
			b.rouse(l, count)
			return nil, 0, nil
		}
		if l.silence() < maxSilence {
			if e.doubted.Load() != 0 || sinceBase()-e.read > int64(b.relookAfter) {
				return nil, 0, nil
			}
			return e, 0, nil
		}
		last = l.lastReply.Load()
	} else {
		last = b.lastGood.Load()
	}
	if doubted := e.doubted.Load(); doubted != 0 {
		last = min(last, doubted)
	}
	if b.cfg.MaxStale == 0 {
		return nil, 0, nil
	}
	age := time.Since(clockBase) - time.Duration(last)
	if age > b.cfg.MaxStale {
		return nil, 0, fmt.Errorf("%w: for longer than %v", store.ErrUnavailable, b.cfg.MaxStale)
	}
	return e, age, nil
}

// rouse has those who keep listings ask for them again, once after each nap.
func (b *Backend) rouse(l *link, nap int64) {
	l.rousing.Lock()
	defer l.rousing.Unlock()
	if l.roused < nap {
		b.cache.doubt(sinceBase())
		l.roused = nap
	}
}

// lastResort answers from memory what the storage was asked for in vain, though
// there was something in memory.
func (b *Backend) lastResort(d store.Digest, c store.Consistency, failure error) (*entry, time.Duration) {
	if c != store.Cached || !errors.Is(failure, store.ErrUnavailable) {
		return nil, 0
	}
	e, age, err := b.remembered(d)
	if err != nil || age == 0 {
		return nil, 0
	}
	return e, age
}

// wrote keeps what was written by step, unless nothing tells when it changes.
func (b *Backend) wrote(s *step, e *entry) {
	if b.feed.off.Load() || !b.heard.Load() {
		b.cache.drop(s.ID)
		return
	}
	b.cache.wrote(s.ID, s.ticket, e)
}

// remember keeps what was read, unless nothing tells when it changes.
func (b *Backend) remember(i id, ticket uint64, e *entry) {
	if b.feed.off.Load() || !b.heard.Load() || !b.cache.put(i, ticket, e) {
		e.left()
	}
}
