package zk

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/internal/local"
	"secretstore/store/zk/internal/changes"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

// maxFeeds bounds how many change records are followed. With more of them in
// ROOT/changes nothing is kept in memory.
const maxFeeds = 512

// feed follows what the other servers publish in ROOT/changes, and the watched
// znodes. Its methods, but for fired, incomplete, reported and missed, belong to
// the goroutine that connects; logs has its own lock.
type feed struct {
	life           *lifetime
	tree           tree.Tree
	log            *zap.Logger
	hub            *local.Hub
	cache          *recordCache
	own            *ownNames
	watches        watchedPaths
	logs           changeLogs
	sessionTimeout time.Duration

	dir        int64             // which ROOT/changes that is: the transaction that made it; 0 before there is one
	seen       map[string]uint64 // counts, by znode name; survives the connection
	unreadable map[string]bool   // change records whose ACL keeps this server out, found on this connection
	crowded    bool              // there are more than maxFeeds
}

// changeLogs are the logs of the snapshots that are being read.
type changeLogs struct {
	mu  sync.Mutex
	all map[*changes.Log]bool // guarded by mu
}

// begin returns a log of what is published from now on, until end is called.
func (c *changeLogs) begin() (log *changes.Log, end func()) {
	log = new(changes.Log)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[*changes.Log]bool)
	}
	c.all[log] = true
	return log, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.all, log)
	}
}

func (c *changeLogs) add(name string, after uint64, ids []store.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for log := range c.all {
		log.Add(name, after, ids)
	}
}

// unread is the count of a server whose change record made no sense. No genuine
// count is that large, so the next one is taken for a gap.
const unread = ^uint64(0)

// firedWatches is the set of znodes whose watch has fired, or has yet to be set.
type firedWatches struct {
	mu    sync.Mutex
	paths map[string]bool // whether the watch has fired; guarded by mu
	busy  bool            // what take returned is being followed; guarded by mu
	since int64           // when the first that is not followed was added, or nearly; see session.Now; guarded by mu
	wake  chan struct{}   // holds a token while paths is not empty, or after poke
}

func newFiredWatches() *firedWatches {
	return &firedWatches{paths: make(map[string]bool), wake: make(chan struct{}, 1)}
}

func (f *firedWatches) add(path string, fired bool) {
	f.mu.Lock()
	if len(f.paths) == 0 && !f.busy {
		f.since = session.Now()
	}
	f.paths[path] = f.paths[path] || fired
	f.mu.Unlock()
	f.poke()
}

// poke wakes follow.
func (f *firedWatches) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *firedWatches) take() map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths := f.paths
	f.paths = make(map[string]bool)
	f.busy = true
	return paths
}

// done is called when what take returned has been followed.
func (f *firedWatches) done() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy = false
	if len(f.paths) > 0 {
		f.since = session.Now() // those that were added meanwhile
	}
}

// pending is for how long watches that have fired have not been followed.
func (f *firedWatches) pending() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.paths) == 0 && !f.busy {
		return 0
	}
	return time.Duration(session.Now() - f.since)
}

// allFollowed says whether every watch that has fired so far has been followed.
func (f *firedWatches) allFollowed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.paths) == 0 && !f.busy
}

// fired is called for every change of a watched znode, in the order of the
// replies. The memory is dropped here, so that nothing that is read after this
// event can be answered with what was before it.
func (f *feed) fired(c *connection, ev zkc.Event) {
	if key, ok := f.tree.Key(ev.Path); ok && ev.Path != f.tree.Changes() {
		if _, ok := f.tree.ChangeRecord(ev.Path); !ok {
			f.cache.dropRecord(store.RecordID(key))
			f.cache.entries.Drop(store.ListingID(tree.Parent(key)))
		}
	}
	c.fired.add(ev.Path, true)
}

// follow answers events until c is down or the backend ends.
func (f *feed) follow(c *connection) {
	f.watches.all(func(path string) { c.fired.add(path, false) })
	armed := make(map[string]bool)
	for {
		select {
		case <-c.Ended():
			return
		case <-f.life.ctx.Done():
			return
		case <-c.fired.wake:
		}
		awake := c.Awake() // before take: what was sent before that answer is there
		for path, fired := range c.fired.take() {
			name, isRecord := f.tree.ChangeRecord(path)
			var err error
			switch {
			case path == f.tree.Changes():
				err = f.list(f.life.ctx, c.Session)
			case isRecord:
				err = f.read(f.life.ctx, c.Session, name)
			default:
				err = f.arm(c.Session, armed, path, fired)
			}
			if err != nil {
				c.Fail(err)
				return
			}
		}
		c.fired.done()
		c.caughtUp.Store(awake)
	}
}

// catchUp sets the watches on c, and drops what has changed since the last
// connection.
func (f *feed) catchUp(ctx context.Context, c *connection) error {
	f.unreadable = make(map[string]bool)
	for name := range f.seen {
		if err := f.read(ctx, c.Session, name); err != nil {
			return err
		}
	}
	return f.list(ctx, c.Session)
}

// list finds new change records.
func (f *feed) list(ctx context.Context, s *session.Session) error {
	type listed struct {
		names []string
		made  int64 // see feed.dir
	}
	now, err := session.Do(ctx, s, func(c *zkc.Conn) (listed, error) {
		names, stat, _, err := c.ChildrenW(f.tree.Changes())
		if err != nil {
			return listed{}, err
		}
		return listed{names, stat.Czxid}, nil
	})
	if err != nil {
		return err
	}
	if f.dir != now.made {
		// ROOT was removed, perhaps with everything in it, and what our own
		// record had published went with it.
		f.seen, f.dir = make(map[string]uint64), now.made
		f.flush()
	}
	names := slices.DeleteFunc(now.names, func(name string) bool { return !changes.IsName(name) })
	f.crowded = len(names) > maxFeeds
	// ZooKeeper tells nobody of the end of a znode that they may not read.
	maps.DeleteFunc(f.unreadable, func(name string, _ bool) bool { return !slices.Contains(names, name) })
	for _, name := range names {
		if _, seen := f.seen[name]; f.crowded || seen || f.unreadable[name] || f.own.has(name) {
			continue
		}
		if err := f.read(ctx, s, name); err != nil {
			return err
		}
	}
	f.checkComplete()
	return nil
}

// gapsEvery is how often the readers of changes learn that they may have missed
// some, while not all changes are published.
const gapsEvery = 5 * time.Second

// reportGaps tells the readers of changes, while not all changes are published,
// that they may have missed some.
func (f *feed) reportGaps(ctx context.Context) {
	tick := time.NewTicker(gapsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if f.cache.incomplete.Load() {
			f.hub.Missed()
		}
	}
}

// checkComplete decides whether anything may be kept in memory.
func (f *feed) checkComplete() {
	incomplete := f.crowded || len(f.unreadable) > 0
	if was := f.cache.incomplete.Swap(incomplete); was == incomplete {
		return
	}
	f.flush()
	f.log.Warn("keeping records in memory", zap.Bool("off", incomplete), zap.Bool("too many change records", f.crowded),
		zap.Int("change records that may not be read", len(f.unreadable)), zap.String("znode", f.tree.Changes()))
}

// read sets the watch on the change record of a server again, and drops what it
// reports.
func (f *feed) read(ctx context.Context, s *session.Session, name string) error {
	path := f.tree.Changes() + "/" + name
	data, err := session.Do(ctx, s, func(c *zkc.Conn) ([]byte, error) {
		data, _, _, err := c.GetW(path)
		return data, err
	})
	switch {
	case errors.Is(err, zkc.ErrNoNode):
		// Its last changes may have gone with it.
		delete(f.seen, name)
		delete(f.unreadable, name)
		f.missed()
		f.checkComplete()
		return nil
	case errors.Is(err, zkc.ErrNoAuth):
		// Anyone can make such a znode: it must not keep us from connecting.
		delete(f.seen, name)
		exists, err := session.Do(ctx, s, func(c *zkc.Conn) (bool, error) { // for a watch, which needs no permission
			exists, _, _, err := c.ExistsW(path)
			return exists, err
		})
		if exists {
			f.unreadable[name] = true
		}
		f.checkComplete()
		return err
	case err != nil:
		return err
	}
	delete(f.unreadable, name)
	defer f.checkComplete()
	record, err := changes.Parse(data)
	if err != nil {
		f.log.Warn("a change record holds data of another program", zap.String("znode", path))
		f.seen[name] = unread
		f.missed()
		return nil
	}
	before := f.seen[name] // 0 for one that is new
	f.seen[name] = record.Count
	ids, ok := record.Since(before)
	if !ok {
		f.missed()
		return nil
	}
	f.logs.add(name, before, ids)
	f.reported(ids)
	return nil
}

// reported drops what is reported as changed, and then notifies watchers.
func (f *feed) reported(ids []store.ID) {
	for _, i := range ids {
		f.cache.dropRecord(i &^ changes.Quiet)
	}
	f.hub.Report(changes.Loud(ids)...)
}

// missed is for when changes may not have been reported: from now on what is in
// memory is for outages alone.
func (f *feed) missed() {
	f.cache.demote(f.sessionTimeout)
	f.hub.Missed()
}

// flush forgets everything: it may be of a store that was removed.
func (f *feed) flush() {
	f.cache.flush()
	f.hub.Missed()
}
