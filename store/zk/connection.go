package zk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store/internal/local"
	"secretstore/store/zk/internal/batch"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/tree"
)

const (
	// minPause and maxPause bound the pause after all members were tried.
	minPause = 50 * time.Millisecond
	maxPause = 300 * time.Millisecond
	// settle is the pause before the first watch is set on a connection. The
	// library checks, in a goroutine that nothing waits for, whether there are
	// watches from an earlier connection; if it does so late and finds ours, it
	// sets them again, with a data race on the way.
	settle = 25 * time.Millisecond
	// settled is how long a connection must have lasted for its end to be logged
	// as a warning.
	settled = time.Second
	// firstAdmission is how long a member may take to give a session when it is
	// tried first: a session is a write, so a member without a leader gives none,
	// and the next one in turn may have a leader already. Each round of trying all
	// members doubles it, up to maxUnanswered.
	firstAdmission = 750 * time.Millisecond
	// stoppedAfter is for how long every member must have refused connections
	// before calls stop waiting for one, and for the outcome of a write under way.
	// During an election, which is worth waiting for, members do listen. With the
	// pauses above it is noticed well within maxAwait.
	stoppedAfter = 300 * time.Millisecond
	// readers is how many connections there are beside the one that writes,
	// for reads that follow a sync point. A connection does one thing after the
	// other, and one alone stops at about 15,000 reads a second. The first is for
	// listings: a large reply keeps everything behind it waiting.
	readers    = 4
	forListing = 0
	// readerRequest bounds a request of a reader: a path and little else.
	readerRequest = 8 << 10
	// maxReaderPause bounds the pause before a reader connects again.
	maxReaderPause = 5 * time.Second
)

// connection is the session that writes and on which changes are followed, with
// what this package keeps for it.
type connection struct {
	*session.Session
	fired   *firedWatches
	syncs   *session.Syncer          // on this very session
	readers [readers]*session.Syncer // on others

	caughtUp atomic.Int64 // after how many pauses of the process all events have been followed

	mu      sync.Mutex
	handled int64 // the pauses that once has run for; guarded by mu
}

func newConnection() *connection {
	c := &connection{fired: newFiredWatches(), syncs: session.NewSyncer()}
	for i := range c.readers {
		c.readers[i] = session.NewSyncer()
	}
	return c
}

// behind says whether this process was stopped, or got no time to run, and has
// yet to follow what the server has sent meanwhile. Then nothing may be served
// from memory: a seal may be among it. pause is the number of the last pause.
func (c *connection) behind() (pause int64, yes bool) {
	pause, now := c.Paused()
	return pause, now || c.caughtUp.Load() != pause
}

// once runs do once for each pause.
func (c *connection) once(pause int64, do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handled < pause {
		do()
		c.handled = pause
	}
}

// connections keeps a connection to one member after the other.
type connections struct {
	life  *lifetime
	cfg   *Config
	tree  tree.Tree
	log   *zap.Logger
	cache *recordCache
	feed  *feed
	turn  atomic.Uint32 // of the readers

	mu      sync.Mutex
	current *connection   // nil while there is none; guarded by mu
	changed chan struct{} // closed and made again when current changes; guarded by mu

	// stopped says that no member listens (see stoppedAfter): calls do not wait
	// then. publish(nil) wakes those that have begun to.
	stopped atomic.Bool
}

// publish makes c the connection of all calls; nil is none.
func (cs *connections) publish(c *connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.cache.disconnected()
	if c != nil {
		cs.stopped.Store(false)
	}
	cs.current = c
	close(cs.changed)
	cs.changed = make(chan struct{})
}

// now returns the connection, nil if there is none, and a channel that is closed
// when that changes.
func (cs *connections) now() (*connection, <-chan struct{}) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.current != nil && cs.current.Err() == nil {
		return cs.current, cs.changed
	}
	return nil, cs.changed
}

// await returns the connection, and waits up to maxAwait for one.
func (cs *connections) await(ctx context.Context) (*connection, error) {
	c, changed := cs.now()
	if c != nil {
		return c, nil
	}
	timer := time.NewTimer(cs.life.await)
	defer timer.Stop()
	for c == nil {
		if cs.stopped.Load() {
			return nil, errAway
		}
		select {
		case <-changed:
			c, changed = cs.now()
		case <-timer.C:
			return nil, errAway
		case <-ctx.Done():
			return nil, local.Expired(ctx)
		case <-cs.life.closing:
			return nil, errClosed
		}
	}
	return c, nil
}

// choose returns the session for a read that has been tried so many times.
func (cs *connections) choose(ctx context.Context, way route, try int) (*session.Session, error) {
	c, err := cs.await(ctx)
	if err != nil {
		return nil, err
	}
	var s *session.Session
	switch {
	case way == plain:
		return c.Session, nil
	case way == listing:
		// Every time: a listing that ends its connection, because it is too
		// large, must not end the one that writes.
		s = c.readers[forListing].Await(ctx, cs.life.await, c.Ended())
	case try == 0:
		s = c.readers[(forListing+1+int(cs.turn.Add(1)%(readers-1)))%readers].Sync(ctx)
	}
	if s == nil {
		s = c.syncs.Sync(ctx)
	}
	switch {
	case s != nil:
		return s, nil
	case ctx.Err() != nil:
		return nil, local.Expired(ctx)
	}
	return nil, session.ErrLost
}

// refusals are the turns in a row in which a member refused the connection, as
// the host of a member that does not run does.
type refusals struct {
	count int
	since time.Time
}

// add notes how a turn has ended, and says whether all members have refused for
// stoppedAfter.
func (r *refusals) add(err error, now time.Time, members int) bool {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		*r = refusals{}
		return false
	}
	if r.count++; r.count == 1 {
		r.since = now
	}
	return r.count >= members && now.Sub(r.since) >= stoppedAfter
}

// pauses doubles from first to last.
func pauses(first, last time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: first, MaxInterval: last, Multiplier: 2}
}

// loop keeps a connection until the backend is closed.
func (cs *connections) loop() {
	servers := slices.Clone(cs.cfg.Servers)
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	pause, admission := pauses(minPause, maxPause), firstAdmission
	log := cs.log.Warn // once an outage
	var refused refusals
	for turn := 0; cs.life.ctx.Err() == nil; turn++ {
		server := servers[turn%len(servers)]
		lasted, err := cs.serve(server, admission)
		if cs.life.ctx.Err() != nil {
			return
		}
		if stopped := refused.add(err, time.Now(), len(servers)); cs.stopped.Swap(stopped) != stopped {
			cs.publish(nil)
		}
		if lasted > settled {
			pause.Reset()
			admission, log = firstAdmission, cs.log.Warn
		}
		log("no connection to ZooKeeper", zap.String("server", server), zap.Error(err))
		log = cs.log.Debug
		if turn%len(servers) == len(servers)-1 {
			sleep(cs.life.ctx, pause.NextBackOff())
			admission = min(2*admission, cs.life.unanswered)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// config returns the configuration of a session.
func (cs *connections) config(server, address string, maxRequest int) session.Config {
	return session.Config{
		Server: server, Address: address, TLS: cs.cfg.tls(), Timeout: cs.cfg.SessionTimeout, Unanswered: cs.life.unanswered,
		User: cs.cfg.User, Password: cs.cfg.Password, MaxRequest: maxRequest, Log: cs.log,
	}
}

// serve connects to server, which has so long to admit this one, and returns how
// long the connection could be used, and why it ended.
func (cs *connections) serve(server string, admission time.Duration) (lasted time.Duration, err error) {
	address, err := resolve(cs.life.ctx, server, cs.life.unanswered)
	if err != nil {
		return 0, err
	}
	c := newConnection()
	cfg := cs.config(server, address, batch.MaxPacket+64)
	cfg.OnEvent, cfg.OnAwake = func(ev zkc.Event) { cs.feed.fired(c, ev) }, c.fired.poke
	if c.Session, err = session.New(cs.life.ctx, cfg); err != nil {
		return 0, err
	}
	cs.life.running.Go(func() { c.Tend(cs.tree.Changes()) })
	defer cs.life.running.Go(c.Retire)
	if err := cs.prepare(c.Session, admission); err != nil {
		c.Fail(err)
		return 0, err
	}
	c.syncs.Begin()
	cs.life.running.Go(func() { c.syncs.Serve(cs.life.ctx, c.Session, cs.tree.Changes(), c.Ended()) })
	defer cs.publish(nil)
	if !cs.cache.followed.Load() {
		// Nothing is in memory, so nothing there can be old: a server that starts
		// answers before it follows changes.
		cs.publish(c)
	}
	if err := cs.catchUp(c); err != nil {
		c.Fail(err)
		return 0, err
	}
	cs.publish(c)
	cs.cache.connected(c)
	cs.log.Info("connected to ZooKeeper", zap.String("server", server))
	for i := range c.readers {
		cs.life.running.Go(func() { cs.keepReader(c, address, c.readers[i]) })
	}
	began := time.Now()
	cs.feed.follow(c)
	return time.Since(began), c.Err()
}

// resolve looks up the host again: in a cluster that moves its members, an old
// address may be that of another service.
func resolve(ctx context.Context, server string, limit time.Duration) (string, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return "", err
	}
	if net.ParseIP(host) != nil {
		return server, nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(addresses[rand.IntN(len(addresses))], port), nil
}

// prepare admits s, and makes sure that what is read on it is not older than what
// was read before.
func (cs *connections) prepare(s *session.Session, admission time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(cs.life.ctx, cs.life.call, errTooSlow)
	defer cancel()
	if err := s.Admit(ctx, admission); err != nil {
		return err
	}
	path := cs.tree.Changes()
	err := s.SyncPoint(ctx, path)
	if errors.Is(err, zkc.ErrNoNode) {
		if err = s.MakePath(ctx, path, cs.tree.ACL); err == nil {
			err = s.SyncPoint(ctx, path)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// catchUp begins to follow the changes of the others on c, and drops what they
// have changed meanwhile.
func (cs *connections) catchUp(c *connection) error {
	ctx, cancel := context.WithTimeoutCause(cs.life.ctx, cs.life.call, errTooSlow)
	defer cancel()
	sleep(ctx, settle)
	return cs.feed.catchUp(ctx, c)
}

// keepReader keeps r connected to the member of c until c or the backend ends.
func (cs *connections) keepReader(c *connection, address string, r *session.Syncer) {
	pause := pauses(minPause, maxReaderPause)
	for c.Err() == nil && cs.life.ctx.Err() == nil {
		lasted, err := cs.serveReads(c, address, r)
		log := cs.log.Debug
		if errors.Is(err, session.ErrReply) {
			log = cs.log.Warn
		}
		log("a connection to ZooKeeper for reads has ended", zap.String("server", c.Server()), zap.Error(err))
		if lasted > settled {
			pause.Reset()
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-c.Ended():
		case <-cs.life.ctx.Done():
		}
		timer.Stop()
	}
}

// serveReads connects r, and returns how long it could be used, and why that
// ended.
func (cs *connections) serveReads(c *connection, address string, r *session.Syncer) (lasted time.Duration, err error) {
	s, err := session.New(cs.life.ctx, cs.config(c.Server(), address, readerRequest))
	if err != nil {
		return 0, err
	}
	cs.life.running.Go(func() { s.Tend(cs.tree.Changes()) })
	defer cs.life.running.Go(s.Retire)
	ctx, cancel := context.WithTimeoutCause(cs.life.ctx, cs.life.call, errTooSlow)
	defer cancel()
	if err := s.Admit(ctx, cs.life.unanswered); err != nil {
		s.Fail(err)
		return 0, err
	}
	began := time.Now()
	r.Begin()
	r.Serve(cs.life.ctx, s, cs.tree.Changes(), c.Ended())
	return time.Since(began), s.Err()
}
