// Package zk keeps records as znodes of a ZooKeeper ensemble: the storage
// zk://HOSTS/ROOT, which many servers may share. It holds opaque bytes, never
// plaintext or keys, and treats everyone who can write to ZooKeeper as an
// attacker.
//
// The record KEY is the znode ROOT/KEY, its Version the version of the znode.
// A znode with empty data is not a record: it only has children. ROOT/changes
// belongs to this package: each server publishes there what it wrote last, which
// keeps the memory of all others fresh. So do ROOT/nodes, where servers announce
// themselves to people (see AnnounceNode), ROOT/peers, where they announce
// themselves to each other (see Announce), and ROOT/pause, which holds writes back
// for a snapshot.
//
// # Parts
//
//	connections  one session that writes and follows changes, made again when it
//	             ends, and a few more for linearizable reads and listings
//	recordCache  what is in memory, and whether it may be served, at what age
//	reads        Get and Children
//	feed         follows the change records of the others and the watched znodes
//	writer       one goroutine that sends the writes, and finds out their outcome
//	writePauses  hold the writer back for a snapshot, if it asks for that
//	announcer    the znodes by which people and other servers see this server
//
// Below them, each tested alone, are session (a connection with deadlines), batch
// (transactions of several requests), changes (the format of change records), memory
// (the cache), tree (which znode is which record) and access (ACLs).
//
// # States
//
// One goroutine connects and then follows changes:
//
//	          all refuse for stoppedAfter            nothing is in memory yet
//	stopped ◄─────────────────────────── dialing ──────────────────────────┐
//	   │ calls fail at once                │  ▲ calls wait up to maxAwait     ▼
//	   └───────────────────────────────────┘  │                       answering, keeps
//	                    session admitted,     │                       nothing in memory
//	                    first sync point      ▼                             │
//	                                       catching up ◄───────────────────┘
//	                                          │ change records read, watches set
//	                                          ▼
//	              session ends ◄────────── following: memory is fresh while the
//	              memory is served         server was heard of within maxSilence
//	              with an Age
//
// The memory is fresh only while following, and only if all changes are published:
// with a change record that this server may not read, or too many of them,
// nothing is kept ("incomplete").
//
// A write goes through the fence: each transaction sets this server's change
// record at the version that it is known to have.
//
//	          answer: done
//	sent ──► answer: refused ──► repaired and sent again, or answered
//	  │
//	  └────► connection lost ──► a fence is set at the same version
//	                               done:     the write has not happened, and cannot: sent again
//	                               refused:  the record tells which attempt took effect
//	                               touched by others, or closed: outcome unknown
//
// The package is larger than others because all of these parts rely on one order,
// that of the events and replies on one connection: what may be served from memory,
// which write took effect and what watchers are told follow from it.
//
// # Limits
//
// Use TLS where the network is not trusted: without it anyone on the way can read
// and change what is sent, though a malformed reply only ends its connection (see
// package frames). A record that is changed by hand (zkCli) is not published: Changes
// does not report it, and memory keeps the old one for up to recheckAfter; a
// linearizable read sees it at once, unless the znode was deleted and made again
// to the same version. A server that is cut off notices within maxSilence; until
// then it serves from memory what may have changed meanwhile, without an Age.
package zk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store"
	"secretstore/store/internal/local"
	"secretstore/store/internal/writes"
	"secretstore/store/zk/internal/batch"
	"secretstore/store/zk/internal/tree"
)

const (
	// maxCall is how long a call of a Backend may last whatever its context
	// says; a context that ends little later takes its place. It leaves time for
	// one connection to be given up as unanswered.
	maxCall = 4 * time.Second
	// maxAwait is how long a call waits for a connection; see stoppedAfter for
	// when it does not.
	maxAwait = 800 * time.Millisecond
	// maxUnanswered is how long a call may go without an answer before its
	// connection is given up for another member.
	maxUnanswered = 2 * time.Second
	// recheckAfter is how long a record in memory is taken for fresh because no
	// server has published a change: it may have been changed by hand.
	recheckAfter = time.Minute
)

var (
	errClosed  = fmt.Errorf("%w: ZooKeeper backend is closed", store.ErrUnavailable)
	errAway    = fmt.Errorf("%w: no connection to ZooKeeper", store.ErrUnavailable)
	errTooSlow = errors.New("no answer from ZooKeeper in time")
)

// Backend is a store.Backend on ZooKeeper. Make it with Open.
type Backend struct {
	life  *lifetime
	tree  tree.Tree
	log   *zap.Logger
	hub   *local.Hub
	cache *recordCache
	feed  *feed
	conns *connections
	reads *reads
	pause *writePauses
	write *writer
	house *housekeeper
	clock clock

	health writes.Health

	close   sync.Once
	writing sync.WaitGroup // the writer, which ends before the connections do
}

var (
	_ store.Backend          = (*Backend)(nil)
	_ store.ExposureReporter = (*Backend)(nil)
	_ store.Announcer        = (*Backend)(nil)
	_ store.WriteReporter    = (*Backend)(nil)
	_ store.Snapshotter      = (*Backend)(nil)
)

// limits are maxCall, maxAwait, maxUnanswered and maxWritePause, but in tests.
type limits struct{ call, await, unanswered, pause time.Duration }

// lifetime is that of a Backend and its goroutines, and of its calls.
type lifetime struct {
	limits
	ctx     context.Context // ends when the goroutines are to end
	end     context.CancelFunc
	closing chan struct{} // closed first: no new work
	running sync.WaitGroup
}

// ready refuses before any work is begun.
func (l *lifetime) ready(ctx context.Context) error {
	select {
	case <-l.closing:
		return errClosed
	default:
		return local.Expired(ctx)
	}
}

// withinCall bounds a call by maxCall, unless ctx does about as much.
func (l *lifetime) withinCall(ctx context.Context) (context.Context, context.CancelFunc) {
	if local.EndsWithin(ctx, l.call) {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, l.call, errTooSlow)
}

// Open begins to connect and returns at once: ZooKeeper may be started later.
// ErrConfig lists everything that is wrong with cfg.
func Open(ctx context.Context, cfg Config) (*Backend, error) {
	if err := local.Expired(ctx); err != nil {
		return nil, err
	}
	cfg.Servers = slices.Clone(cfg.Servers)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cache, err := newRecordCache(&cfg)
	if err != nil {
		return nil, err
	}
	b := newBackend(&cfg, cache)
	b.life.running.Go(b.conns.loop)
	b.life.running.Go(b.house.run)
	b.life.running.Go(func() { b.feed.reportGaps(b.life.ctx) })
	b.writing.Go(b.write.run)
	b.watchPaths(b.life.ctx, []string{b.tree.Pause()}, b.pause.look)
	return b, nil
}

// newBackend connects the parts, and starts none.
func newBackend(cfg *Config, cache *recordCache) *Backend {
	b := &Backend{
		life:  &lifetime{limits: cfg.testOnlyLimits, closing: make(chan struct{})},
		tree:  tree.Tree{Root: cfg.Root, ACL: zkc.WorldACL(zkc.PermAll)},
		log:   cfg.Log,
		hub:   local.NewHub(),
		cache: cache,

		health: writes.Health{Fresh: faultFresh},
	}
	if cfg.User != "" {
		b.tree.ACL = zkc.AuthACL(zkc.PermAll)
	}
	b.life.ctx, b.life.end = context.WithCancel(context.Background())
	own := &ownNames{}
	b.feed = &feed{life: b.life, tree: b.tree, log: b.log, hub: b.hub, cache: cache, own: own, sessionTimeout: cfg.SessionTimeout}
	b.conns = &connections{life: b.life, cfg: cfg, tree: b.tree, log: b.log, cache: cache, feed: b.feed, changed: make(chan struct{})}
	b.reads = &reads{life: b.life, tree: b.tree, cache: cache, conns: b.conns}
	b.pause = &writePauses{life: b.life, tree: b.tree, log: b.log, conns: b.conns}
	b.write = &writer{
		life: b.life, tree: b.tree, log: b.log, hub: b.hub, cache: cache, conns: b.conns, feed: b.feed, pause: b.pause, names: own,
		queue:   batch.NewQueue(),
		builder: batch.Builder{Tree: b.tree, Exists: cache.exists, Ticket: cache.entries.Ticket},
	}
	b.house = &housekeeper{life: b.life, cfg: cfg, tree: b.tree, log: b.log, cache: cache, conns: b.conns, own: own, abandonedAfter: abandonedAfter}
	return b
}

// Close implements store.Backend. The write under way is finished first, if
// ZooKeeper answers.
func (b *Backend) Close() error {
	b.close.Do(func() {
		close(b.life.closing)
		b.write.queue.Close()
		b.writing.Wait()
		b.life.end()
		b.hub.Close()
		b.life.running.Wait()
		b.cache.close()
	})
	return nil
}

// Get implements store.Backend.
func (b *Backend) Get(ctx context.Context, key store.Key, c store.Consistency) (store.Node, error) {
	return b.reads.get(ctx, key, c)
}

// Children implements store.Backend. Names that no key can have are left out.
func (b *Backend) Children(ctx context.Context, key store.Key, c store.Consistency) (store.Listing, error) {
	return b.reads.children(ctx, key, c)
}

// Apply implements store.Backend.
func (b *Backend) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	began := time.Now()
	versions, err := b.write.apply(ctx, ops)
	b.conns.cfg.Meter(store.CallWrite, time.Since(began), err)
	b.health.Note(err)
	return versions, err
}

// faultFresh is how long a failed write is reported. Most fail because the
// connection was lost, and Ping tells that.
const faultFresh = time.Minute

// WriteFault implements store.WriteReporter.
func (b *Backend) WriteFault() error { return b.health.Fault() }

// Ping implements store.Backend with a read on the session. A member that has
// lost its quorum closes its sessions, so it does not answer.
func (b *Backend) Ping(ctx context.Context) error {
	if err := b.life.ready(ctx); err != nil {
		return err
	}
	_, err := readOn(ctx, b.conns, plain, func(c *zkc.Conn) (bool, error) {
		exists, _, err := c.Exists(b.tree.Changes())
		return exists, err
	})
	return err
}
