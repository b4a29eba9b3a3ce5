package zk

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
)

// maxFeeds bounds how many change records are followed. With more of them in ROOT/changes nothing is kept in memory.
const maxFeeds = 512

// feed follows what the other servers publish in ROOT/changes. It belongs to
// the goroutine that connects.
type feed struct {
	b       *Backend
	dir     int64             // which ROOT/changes that is: the transaction that made it; 0 before there is one
	seen    map[string]uint64 // counts, by znode name; survives the connection
	closed  map[string]bool   // change records whose ACL keeps this server out, found on this connection
	crowded bool              // there are more than maxFeeds
	off     atomic.Bool       // not all changes are told: nothing may be kept in memory
}

// unread is the count of a server whose change record made no sense. No
// genuine one comes that far, so the next one is taken for a gap.
const unread = ^uint64(0)

// dirty is the set of znodes whose watch has fired, or has yet to be set.
type dirty struct {
	mu    sync.Mutex
	paths map[string]bool // the watch has fired; guarded by mu
	wake  chan struct{}   // holds a token while paths is not empty, or after poke
}

func newDirty() *dirty { return &dirty{paths: make(map[string]bool), wake: make(chan struct{}, 1)} }

func (d *dirty) add(path string, fired bool) {
	d.mu.Lock()
	d.paths[path] = d.paths[path] || fired
	d.mu.Unlock()
	d.poke()
}

// poke has whoever follows look.
func (d *dirty) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take returns the paths.
func (d *dirty) take() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	paths := d.paths
	d.paths = make(map[string]bool)
	return paths
}

// follow answers events until l is down or the backend ends.
func (b *Backend) follow(l *link) {
	b.watch.all(func(path string) { l.dirty.add(path, false) })
	armed := make(map[string]bool)
	for {
		select {
		case <-l.down:
			return
		case <-b.ctx.Done():
			return
		case <-l.dirty.wake:
		}
		asked := l.asked.Load() // before take: what was told before that answer is there
		for path, fired := range l.dirty.take() {
			var err error
			switch {
			case path == b.changes:
				err = b.feed.list(b.ctx, l)
			case strings.HasPrefix(path, b.changes+"/"):
				err = b.feed.read(b.ctx, l, path[len(b.changes)+1:])
			default:
				err = b.arm(l, armed, path, fired)
			}
			if err != nil {
				l.fail(err)
				return
			}
		}
		l.caughtUp.Store(asked)
	}
}

// sync sets the watches on l, and drops what has changed since the last
// connection.
func (f *feed) sync(ctx context.Context, l *link) error {
	f.closed = make(map[string]bool)
	for name := range f.seen {
		if err := f.read(ctx, l, name); err != nil {
			return err
		}
	}
	return f.list(ctx, l)
}

// listed is an answer about ROOT/changes.
type listed struct {
	names []string
	made  int64 // see feed.dir
}

// list looks for change records that are new.
func (f *feed) list(ctx context.Context, l *link) error {
	now, err := do(ctx, l, func(c *zkc.Conn) (listed, error) {
		names, stat, _, err := c.ChildrenW(f.b.changes)
		if err != nil {
			return listed{}, err
		}
		return listed{names, stat.Czxid}, nil
	})
	if err != nil {
		return err
	}
	if f.dir != now.made {
		// Somebody has removed ROOT, perhaps with everything in it, and what
		// our own record told went with it.
		f.seen, f.dir = make(map[string]uint64), now.made
		f.b.flush()
	}
	names := slices.DeleteFunc(now.names, func(name string) bool { return !isOwnName(name) })
	f.crowded = len(names) > maxFeeds
	for _, name := range names {
		if _, known := f.seen[name]; f.crowded || known || f.closed[name] || f.b.own.has(name) {
			continue
		}
		if err := f.read(ctx, l, name); err != nil {
			return err
		}
	}
	f.judge()
	return nil
}

// untoldEvery is how often watchers are told that they may have missed changes
// while not all of these are told.
const untoldEvery = 5 * time.Second

// admit tells readers of changes, while not all of these are told, that they
// may have missed some.
func (f *feed) admit(ctx context.Context) {
	tick := time.NewTicker(untoldEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if f.off.Load() {
			f.b.hub.Missed()
		}
	}
}

// judge decides whether anything may be kept in memory.
func (f *feed) judge() {
	off := f.crowded || len(f.closed) > 0
	if was := f.off.Swap(off); was == off {
		return
	}
	f.b.flush()
	f.b.log.Warn("keeping records in memory", zap.Bool("off", off), zap.Bool("too many change records", f.crowded),
		zap.Int("change records that may not be read", len(f.closed)), zap.String("znode", f.b.changes))
}

// read sets the watch on the change record of a server again, and drops what
// it tells of.
func (f *feed) read(ctx context.Context, l *link, name string) error {
	path := f.b.changes + "/" + name
	data, err := do(ctx, l, func(c *zkc.Conn) ([]byte, error) {
		data, _, _, err := c.GetW(path)
		return data, err
	})
	switch {
	case errors.Is(err, zkc.ErrNoNode):
		// Its last changes may have gone with it.
		delete(f.seen, name)
		delete(f.closed, name)
		f.b.missed()
		f.judge()
		return nil
	case errors.Is(err, zkc.ErrNoAuth):
		// Anybody can make such a znode: it must not keep us from connecting.
		delete(f.seen, name)
		exists, err := do(ctx, l, func(c *zkc.Conn) (bool, error) { // for a watch, which needs no permission
			exists, _, _, err := c.ExistsW(path)
			return exists, err
		})
		if exists {
			f.closed[name] = true
		}
		f.judge()
		return err
	case err != nil:
		return err
	}
	delete(f.closed, name)
	defer f.judge()
	c, err := parseChange(data)
	if err != nil {
		f.b.log.Warn("foreign data in a change record", zap.String("znode", path))
		f.seen[name] = unread
		f.b.missed()
		return nil
	}
	before := f.seen[name] // 0 for one that is new
	f.seen[name] = c.count
	ids, ok := c.since(before)
	if !ok {
		f.b.missed()
		return nil
	}
	f.b.told(ids)
	return nil
}
