package zk

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
)

// maxFeeds bounds how many servers are followed. With more of them in
// ROOT/changes nothing is kept in memory.
const maxFeeds = 256

// feed follows what the other servers publish in ROOT/changes. It belongs to
// the goroutine that connects.
type feed struct {
	b    *Backend
	seen map[string]uint64 // counts, by znode name; survives the connection
	off  atomic.Bool       // too many to follow: nothing may be kept in memory
}

// unread is the count of a server whose change record made no sense. No
// genuine one comes that far, so the next one flushes.
const unread = ^uint64(0)

// dirty is the set of znodes whose watch has fired, or has yet to be set.
type dirty struct {
	mu    sync.Mutex
	paths map[string]bool // the watch has fired; guarded by mu
	wake  chan struct{}   // holds a token while paths is not empty
}

func newDirty() *dirty { return &dirty{paths: make(map[string]bool), wake: make(chan struct{}, 1)} }

func (d *dirty) add(path string, fired bool) {
	d.mu.Lock()
	d.paths[path] = d.paths[path] || fired
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

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
	}
}

// sync sets the watches on l, and drops what has changed since the last
// connection.
func (f *feed) sync(ctx context.Context, l *link) error {
	for name := range f.seen {
		if err := f.read(ctx, l, name); err != nil {
			return err
		}
	}
	return f.list(ctx, l)
}

// list looks for servers that are new.
func (f *feed) list(ctx context.Context, l *link) error {
	names, err := do(ctx, l, func(c *zkc.Conn) ([]string, error) {
		names, _, _, err := c.ChildrenW(f.b.changes)
		return names, err
	})
	if err != nil {
		return err
	}
	if f.seen == nil {
		f.seen = make(map[string]uint64)
	}
	off := len(names) > maxFeeds
	if was := f.off.Swap(off); was != off {
		f.b.log.Warn("number of servers that have published changes", zap.Int("servers", len(names)),
			zap.Bool("too many to keep anything in memory", off), zap.String("znode", f.b.changes))
		f.b.flush()
	}
	if off {
		return nil
	}
	for _, name := range names {
		if _, known := f.seen[name]; known || f.b.own.has(name) {
			continue
		}
		if err := f.read(ctx, l, name); err != nil {
			return err
		}
	}
	return nil
}

// read sets the watch on the change record of a server again, and drops what
// it tells of.
func (f *feed) read(ctx context.Context, l *link, name string) error {
	data, err := do(ctx, l, func(c *zkc.Conn) ([]byte, error) {
		data, _, _, err := c.GetW(f.b.changes + "/" + name)
		return data, err
	})
	if errors.Is(err, zkc.ErrNoNode) {
		// Its last changes may have gone with it.
		delete(f.seen, name)
		f.b.flush()
		return nil
	}
	if err != nil {
		return err
	}
	c, err := parseChange(data)
	if err != nil {
		f.b.log.Warn("foreign data in a change record", zap.String("znode", f.b.changes+"/"+name))
		f.seen[name] = unread
		f.b.flush()
		return nil
	}
	before := f.seen[name] // 0 for one that is new
	f.seen[name] = c.count
	ids, ok := c.since(before)
	if !ok {
		f.b.flush()
		return nil
	}
	for _, id := range ids {
		f.b.dropRecord(id)
	}
	return nil
}
