// Package zk keeps records as znodes of a ZooKeeper ensemble: the storage
// zk://HOSTS/ROOT, which many servers may share. It holds opaque bytes, never
// plaintext or keys, and takes whoever can write to ZooKeeper for an attacker.
//
// The record KEY is the znode ROOT/KEY, its Version the version of the znode.
// A znode with empty data is no record: it only has children. ROOT/changes
// belongs to this package; each server publishes there what it wrote last
// (see change), which keeps the memory of all others fresh. So does ROOT/nodes,
// where servers tell people that they are there (see Announce).
//
// A Backend has one connection at a time that writes and hears of changes (see
// link), made by one goroutine (connect.go) that also follows the changes of
// the others (feed.go) and the watched znodes (watch.go). All writes go through
// another one (queue.go, commit.go). A few more connections are for linearizable reads and
// for listings (reader.go).
//
// Known limits. The client library can panic, and end the process, on a reply
// whose content is malformed (a count of names that is negative, for one): use
// TLS where the network is not trusted. A record that is changed by hand (zkCli) is not
// published: Changes does not tell of it, and memory keeps the old one for up to
// relookAfter; a linearizable read sees it at once. A server that is cut off notices within maxSilence; until then it
// serves from memory what may have changed meanwhile, without an Age.
package zk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/internal/local"
)

const (
	// maxCall is how long a call of a Backend may last whatever its context
	// says, but for one whose context ends within grace after it. It leaves
	// time for one connection to be given up as unanswered.
	maxCall = 4 * time.Second
	// maxAwait is how long a call waits for a connection that is away; see
	// stoppedAfter for when it does not.
	maxAwait = 800 * time.Millisecond
	// maxSilence is how long the memory counts as fresh without word from the
	// server: the heartbeat, and the time in which it is missed.
	maxSilence = heartbeat + unanswered
	// relookAfter is how long a record in memory is taken for fresh because no
	// server has told of a change: it may have been changed by hand.
	relookAfter = time.Minute
)

var (
	errClosed  = fmt.Errorf("%w: ZooKeeper backend is closed", store.ErrUnavailable)
	errAway    = fmt.Errorf("%w: no connection to ZooKeeper", store.ErrUnavailable)
	errTooSlow = fmt.Errorf("no answer from ZooKeeper within %v", maxCall)
)

// Backend is a store.Backend on ZooKeeper. Make it with Open.
type Backend struct {
	cfg     Config
	log     *zap.Logger
	acl     []zkc.ACL // of every znode that is made
	changes string    // ROOT/changes

	cache    *cache
	existing *existing
	feed     feed
	hub      *local.Hub
	watch    watched
	queue    *queue
	own      ownNames
	turn     atomic.Uint32 // of the readers

	abandonedAfter time.Duration // see there
	relookAfter    time.Duration // see there

	ctx     context.Context // ends when the goroutines are to end
	end     context.CancelFunc
	closing chan struct{} // closed first: no new work
	close   sync.Once
	running sync.WaitGroup
	writer  sync.WaitGroup // the committer, which ends before the connection does

	mu      sync.Mutex
	current *link         // nil while there is none; guarded by mu
	changed chan struct{} // closed and made anew when current changes; guarded by mu

	// stopped says that no member listens (see stoppedAfter): nobody waits then.
	// publish(nil) wakes those who have begun to.
	stopped  atomic.Bool
	live     atomic.Pointer[link] // current, once it hears of changes; for readers of the memory
	lastGood atomic.Int64         // until when the memory is right while live is nil, ns after clockBase
	heard    atomic.Bool          // there has been a live connection; before, nothing is kept in memory
}

var (
	_ store.Backend          = (*Backend)(nil)
	_ store.ExposureReporter = (*Backend)(nil)
)

// Open begins to connect and returns at once: ZooKeeper may be started later.
// A wrong Config is ErrConfig, with all that is wrong.
func Open(ctx context.Context, cfg Config) (*Backend, error) {
	if err := ctx.Err(); err != nil {
		return nil, expired(ctx)
	}
	cfg.Servers = append([]string(nil), cfg.Servers...)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cache, err := newCache(cfg.CacheBytes)
	if err != nil {
		return nil, err
	}
	existing, err := newExisting()
	if err != nil {
		return nil, err
	}
	b := &Backend{
		cfg: cfg, log: cfg.Log, acl: zkc.WorldACL(zkc.PermAll), changes: cfg.Root + "/" + changesName,
		cache: cache, existing: existing, hub: local.NewHub(), queue: newQueue(),
		closing: make(chan struct{}), changed: make(chan struct{}),
		abandonedAfter: abandonedAfter, relookAfter: relookAfter,
	}
	b.feed.b = b
	b.ctx, b.end = context.WithCancel(context.Background())
	if cfg.User != "" {
		b.acl = zkc.AuthACL(zkc.PermAll)
	} else {
		b.log.Warn("no ZooKeeper user is configured: everybody who reaches ZooKeeper may change and delete everything",
			zap.String("root", cfg.Root))
	}
	b.running.Go(b.connectLoop)
	b.running.Go(b.housekeeping)
	b.running.Go(func() { b.feed.admit(b.ctx) })
	b.writer.Go((&committer{b: b}).run)
	return b, nil
}

// Close implements store.Backend. The write under way is finished first, if
// ZooKeeper answers.
func (b *Backend) Close() error {
	b.close.Do(func() {
		close(b.closing)
		b.queue.close()
		b.writer.Wait()
		b.end()
		b.hub.Close()
		b.running.Wait()
		b.cache.close()
		b.existing.close()
	})
	return nil
}

// Ping implements store.Backend with a read on the session. A member that has
// lost its quorum closes its sessions, so it does not answer.
func (b *Backend) Ping(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	_, err := readOn(ctx, b, plain, func(c *zkc.Conn) (bool, error) {
		exists, _, err := c.Exists(b.changes)
		return exists, err
	})
	return err
}

// ready refuses before anything is begun.
func (b *Backend) ready(ctx context.Context) error {
	select {
	case <-b.closing:
		return errClosed
	default:
		return local.Expired(ctx)
	}
}

// publish makes l the connection of all calls, or with nil says that there is
// none.
func (b *Backend) publish(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if live := b.live.Load(); live != nil {
		b.lastGood.Store(live.lastReply.Load())
		b.live.Store(nil)
	}
	if l != nil {
		b.stopped.Store(false)
	}
	b.current = l
	close(b.changed)
	b.changed = make(chan struct{})
}

// link returns the connection, nil if there is none, and a channel that is
// closed when that changes.
func (b *Backend) link() (*link, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current != nil && b.current.failure() == nil {
		return b.current, b.changed
	}
	return nil, b.changed
}

// await returns the connection, and waits a little for it if it is away.
func (b *Backend) await(ctx context.Context) (*link, error) {
	l, changed := b.link()
	if l != nil {
		return l, nil
	}
	timer := time.NewTimer(maxAwait)
	defer timer.Stop()
	for l == nil {
		if b.stopped.Load() {
			return nil, errAway
		}
		select {
		case <-changed:
			l, changed = b.link()
		case <-timer.C:
			return nil, errAway
		case <-ctx.Done():
			return nil, expired(ctx)
		case <-b.closing:
			return nil, errClosed
		}
	}
	return l, nil
}

// grace is by how much a deadline may be later than a limit and do in its place: a
// timer less.
const grace = time.Second

// withinCall bounds a call by maxCall, unless ctx does about as much.
func withinCall(ctx context.Context) (context.Context, context.CancelFunc) {
	if boundBy(ctx, maxCall) {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, maxCall, errTooSlow)
}

// boundBy says whether ctx ends within about limit.
func boundBy(ctx context.Context, limit time.Duration) bool {
	end, ok := ctx.Deadline()
	return ok && time.Until(end) <= limit+grace
}

// readTries bounds how many connections one read may outlive.
const readTries = 3

// route is how a read finds its connection.
type route int

const (
	plain   route = iota // the connection that writes, and hears of changes
	fresh                // one on which a sync point was made for it
	listing              // the same, but one that is for large replies
)

// readOn reads with call. An error is what the server said, or matches
// store.ErrUnavailable.
func readOn[T any](ctx context.Context, b *Backend, way route, call func(*zkc.Conn) (T, error)) (T, error) {
	ctx, cancel := withinCall(ctx)
	defer cancel()
	var zero T
	var err error
	for try := range readTries {
		var l *link
		if l, err = b.choose(ctx, way, try); err == nil {
			// On the connection of the sync point: another member may be behind it.
			var value T
			value, err = do(ctx, l, call)
			if !errors.Is(err, errLost) {
				return value, err
			}
			l.fail(err)
		}
		if !errors.Is(err, errLost) {
			return zero, err
		}
		if err := b.ready(ctx); err != nil {
			return zero, err
		}
	}
	return zero, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// choose returns the connection for a read that has been tried so many times.
func (b *Backend) choose(ctx context.Context, way route, try int) (*link, error) {
	main, err := b.await(ctx)
	if err != nil || way == plain {
		return main, err
	}
	var l *link
	switch {
	case way == listing:
		// Every time: a listing that ends its connection, because it is too
		// large, shall not end the one that writes.
		l = main.readers[forListing].awaitSync(ctx, main)
	case try == 0:
		l = main.readers[(forListing+1+int(b.turn.Add(1)%(readers-1)))%readers].sync(ctx)
	}
	if l == nil {
		l = main.syncs.sync(ctx)
	}
	switch {
	case l != nil:
		return l, nil
	case ctx.Err() != nil:
		return nil, expired(ctx)
	}
	return nil, errLost
}
