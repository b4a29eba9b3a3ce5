package zk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"

	"secretstore/store"
	"secretstore/store/internal/local"
	"secretstore/store/zk/internal/changes"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

const (
	// snapshotReads is how many records are read at the same time.
	snapshotReads = 32
	// snapshotPart is how many records are read between two looks at the change
	// records, which repeat only the last changes.
	snapshotPart = local.PaceBurst
)

// Snapshot implements store.Snapshotter.
//
// ZooKeeper has no reads of several znodes, so each is read by itself, all on one
// session, whose member never goes back. The change records say what was written
// meanwhile, and that is read again, until nothing was. Then each znode is as it
// was read since a moment before the last round began until after it: at that
// moment all of them were. A session that is lost is replaced by one that a sync
// point has brought to the same state or a later one.
//
// The change records repeat only the last changes. What they no longer repeat was seen
// by this server, which follows them all the time. If it was not, because a change
// record was removed, or this server was disconnected, everything is read again. Writes
// by hand are in no change record.
func (b *Backend) Snapshot(ctx context.Context, s store.Snapshot, emit func(store.Key, []byte) error) error {
	if err := b.life.ready(ctx); err != nil {
		return err
	}
	for _, key := range slices.Concat(s.Below, s.Except) {
		if err := tree.CheckKey(key); err != nil {
			return err
		}
	}
	sn := &snapshot{
		b: b, ask: s, emit: emit, pace: local.NewPace(s.Rate),
		counts: make(map[string]uint64), records: make(map[store.ID]store.Key), listings: make(map[store.ID]store.Key),
	}
	return sn.run(ctx)
}

// snapshot is one Snapshot. It is for one goroutine.
type snapshot struct {
	b       *Backend
	ask     store.Snapshot
	emit    func(store.Key, []byte) error
	pace    local.Pace
	session *session.Session // nil before the first read, and after it was lost
	since   int              // how many records were read since the last look at the change records

	log      *changes.Log      // what servers publish between two looks at their change records
	counts   map[string]uint64 // of the change records, by name
	changed  []store.ID        // what they have reported
	gap      bool              // they may not have reported everything
	rested   bool              // writes can be held back, as far as this server knows
	resume   func()            // ends the pause; nil before there is one
	until    time.Time         // when the pause ends on its own
	records  map[store.ID]store.Key
	listings map[store.ID]store.Key
}

func (sn *snapshot) run(ctx context.Context) error {
	var end func()
	sn.log, end = sn.b.feed.logs.begin()
	defer end()
	defer func() {
		if sn.resume != nil {
			sn.resume()
		}
	}()
	if err := sn.follow(ctx); err != nil {
		return err
	}
	sn.changed, sn.gap = nil, false
	if err := sn.readAll(ctx); err != nil {
		return err
	}
	for round := 1; ; round++ {
		if err := sn.follow(ctx); err != nil {
			return err
		}
		changed, gap := sn.changed, sn.gap
		sn.changed, sn.gap = nil, false
		records, listings := sn.concerned(changed)
		switch {
		case !gap && len(records)+len(listings) == 0:
			return nil
		case round > store.SnapshotRounds:
			if err := sn.pause(ctx, round); err != nil {
				return err
			}
		}
		if sn.ask.Again != nil {
			sn.ask.Again(round)
		}
		if gap {
			if err := sn.readAllAgain(ctx); err != nil {
				return err
			}
			continue
		}
		// Listings first: what is new there is read once.
		for _, key := range listings {
			if err := sn.readBelow(ctx, key); err != nil {
				return err
			}
		}
		if err := sn.read(ctx, records); err != nil {
			return err
		}
	}
}

// pause is called before each round that is more than usual. It has writes held back,
// if that is permitted, and returns an error once they no longer are.
func (sn *snapshot) pause(ctx context.Context, round int) error {
	switch {
	case !sn.ask.Pause:
		return fmt.Errorf("%w: records still changed after they were read %d times", store.ErrTooManyWrites, round)
	case !sn.rested:
		// What has changed until the pause can begin is read before it.
		sn.rested = true
		if sleep(ctx, sn.b.pause.rest()); ctx.Err() != nil {
			return local.Expired(ctx)
		}
		return nil
	case sn.resume == nil:
		sn.until = time.Now().Add(sn.b.life.pause)
		var err error
		sn.resume, err = sn.b.pause.ask(ctx)
		return err
	case time.Now().After(sn.until):
		return fmt.Errorf("%w: records still changed while servers were asked to hold back writes for %v", store.ErrTooManyWrites, sn.b.life.pause)
	}
	return nil
}

// concerned returns the keys of the records that were read and have changed, and
// of the listings.
func (sn *snapshot) concerned(ids []store.ID) (records, listings []store.Key) {
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if key, ok := sn.records[id]; ok {
			records = append(records, key)
		}
		if key, ok := sn.listings[id]; ok {
			listings = append(listings, key)
		}
	}
	return records, listings
}

// readAll reads everything.
func (sn *snapshot) readAll(ctx context.Context) error { return sn.read(ctx, sn.ask.Below) }

// readAllAgain reads everything, and what was there before: it may be gone.
func (sn *snapshot) readAllAgain(ctx context.Context) error {
	before := sn.records
	sn.records, sn.listings = make(map[store.ID]store.Key), make(map[store.ID]store.Key)
	if err := sn.readAll(ctx); err != nil {
		return err
	}
	var gone []store.Key
	for id, key := range before {
		if _, there := sn.records[id]; !there {
			sn.records[id] = key // so that read emits that it is gone
			gone = append(gone, key)
		}
	}
	return sn.read(ctx, gone)
}

// read emits the records under keys, and, of those that are read for the first
// time, what is below them.
func (sn *snapshot) read(ctx context.Context, keys []store.Key) error {
	for part := range slices.Chunk(keys, snapshotPart) {
		if err := sn.pace.Wait(ctx, len(part)); err != nil {
			return err
		}
		if sn.since+len(part) > snapshotPart {
			if err := sn.follow(ctx); err != nil {
				return err
			}
		}
		sn.since += len(part)
		paths := make([]string, len(part))
		for i, key := range part {
			paths[i] = sn.b.tree.Path(key)
		}
		found, err := sn.fetch(ctx, paths)
		if err != nil {
			return err
		}
		var parents []store.Key
		for i, key := range part {
			known := sn.records[store.RecordID(key)] == key
			sn.records[store.RecordID(key)] = key
			if len(found[i].data) > 0 || known {
				if err := sn.emit(key, found[i].data); err != nil {
					return err
				}
			}
			if listing := store.ListingID(key); found[i].children && sn.listings[listing] == "" {
				parents = append(parents, key)
			}
			sn.listings[store.ListingID(key)] = key
		}
		for _, key := range parents {
			if err := sn.readBelow(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// readBelow reads the records directly below key that were not read before.
func (sn *snapshot) readBelow(ctx context.Context, key store.Key) error {
	names, err := sn.childrenOf(ctx, sn.b.tree.Path(key))
	if err != nil {
		return err
	}
	var fresh []store.Key
	for _, name := range tree.KeepValid(key, names) {
		child := key + "/" + name
		if _, known := sn.records[store.RecordID(child)]; !known && sn.ask.Covers(child) {
			fresh = append(fresh, child)
		}
	}
	return sn.read(ctx, fresh)
}

// found is what a znode contains; the zero value is one that does not exist.
type found struct {
	data     []byte
	children bool
}

// fetch reads znodes, many at once.
func (sn *snapshot) fetch(ctx context.Context, paths []string) ([]found, error) {
	return onSnapshot(ctx, sn, func(ctx context.Context, s *session.Session) ([]found, error) {
		all := make([]found, len(paths))
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(snapshotReads)
		for i, path := range paths {
			group.Go(func() (err error) {
				all[i], err = fetchOne(ctx, s, path)
				return err
			})
		}
		return all, group.Wait()
	})
}

func fetchOne(ctx context.Context, s *session.Session, path string) (found, error) {
	f, err := session.Do(ctx, s, func(c *zkc.Conn) (found, error) {
		data, stat, err := c.Get(path)
		if err != nil {
			return found{}, err
		}
		return found{data, stat.NumChildren > 0}, nil
	})
	switch {
	case errors.Is(err, zkc.ErrNoNode):
		return found{}, nil
	case err != nil:
		return found{}, fmt.Errorf("get %s: %w", path, unusable(err))
	}
	return f, nil
}

// childrenOf returns the names below a znode; none if it does not exist.
func (sn *snapshot) childrenOf(ctx context.Context, path string) ([]string, error) {
	return onSnapshot(ctx, sn, func(ctx context.Context, s *session.Session) ([]string, error) {
		names, err := session.Do(ctx, s, func(c *zkc.Conn) ([]string, error) {
			names, _, err := c.Children(path)
			return names, err
		})
		switch {
		case errors.Is(err, zkc.ErrNoNode):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("children of %s: %w", path, unusable(err))
		}
		return names, nil
	})
}

// follow reads what all servers have published since the last call. Between two calls
// there should be as few round trips as possible: a round ends the snapshot only if
// nothing was written from one call until the next.
func (sn *snapshot) follow(ctx context.Context) error {
	sn.since = 0
	names, err := sn.childrenOf(ctx, sn.b.tree.Changes())
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !changes.IsName(name) })
	if len(names) > maxFeeds {
		return fmt.Errorf("%w: %s has more than %d change records", store.ErrUnusable, sn.b.tree.Changes(), maxFeeds)
	}
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = sn.b.tree.Changes() + "/" + name
	}
	published, err := sn.fetch(ctx, paths)
	if err != nil {
		return err
	}
	before := sn.counts
	sn.counts = make(map[string]uint64, len(names))
	for i, name := range names {
		record, err := changes.Parse(published[i].data)
		if err != nil { // also one that was removed just now
			sn.gap = sn.gap || before[name] != unread
			sn.counts[name] = unread
			continue
		}
		sn.counts[name] = record.Count
		ids, ok := sn.publishedSince(ctx, before[name], name, record) // 0 for one that is new
		if !ok {
			sn.gap = true
			continue
		}
		for _, id := range ids {
			sn.changed = append(sn.changed, id&^changes.Quiet)
		}
	}
	for name := range before {
		if _, there := sn.counts[name]; !there {
			sn.gap = true
		}
	}
	sn.log.Forget(sn.counts)
	return nil
}

const (
	// logTries is how often the log is read before a gap is taken for one. The server
	// may have the change record later than this session.
	logTries = 50
	logPause = 10 * time.Millisecond
)

// publishedSince returns the ids that a server has published after the first seen ones.
// The log has those that its change record no longer repeats.
func (sn *snapshot) publishedSince(ctx context.Context, seen uint64, name string, record changes.Record) (ids []store.ID, ok bool) {
	if ids, ok = record.Since(seen); ok || seen == 0 || seen > record.Count {
		return ids, ok
	}
	for range logTries {
		if ids, ok = sn.log.Between(name, seen, record.Count-uint64(len(record.IDs))); ok {
			return append(ids, record.IDs...), true
		}
		sleep(ctx, logPause)
	}
	return nil, false
}

// onSnapshot makes a call on the session of sn, and repeats it on another one if
// that is lost.
func onSnapshot[T any](ctx context.Context, sn *snapshot, call func(context.Context, *session.Session) (T, error)) (T, error) {
	var zero T
	var err error
	for try := range readTries {
		if err := sn.b.life.ready(ctx); err != nil {
			return zero, err
		}
		if sn.session == nil {
			limited, cancel := sn.b.life.withinCall(ctx)
			sn.session, err = sn.b.conns.choose(limited, listing, try)
			cancel()
		}
		if err == nil {
			var value T
			if value, err = call(ctx, sn.session); err == nil {
				return value, nil
			}
		}
		if !errors.Is(err, session.ErrLost) {
			return zero, err
		}
		sn.session = nil
	}
	return zero, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
