package zk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
)

const (
	// minPause and maxPause are waited after all members were tried in vain.
	minPause = 50 * time.Millisecond
	maxPause = 300 * time.Millisecond
	// settle is waited before the first watch is set on a connection. The
	// library looks, in a goroutine that nothing waits for, whether there are
	// watches from an earlier connection; if it gets to it late and finds ours,
	// it sets them again, with a data race on the way.
	settle = 25 * time.Millisecond
	// settled is how long a connection has lasted when its end is news.
	settled = time.Second
	// firstAdmission is how long a member may take to give a session when it is
	// tried first: a session is a write, so a member without a leader gives none,
	// and the next one in turn may have one already. Each round of trying all in
	// vain doubles it, up to unanswered.
	firstAdmission = 750 * time.Millisecond
	// stoppedAfter is for how long every member has refused connections when
	// nobody waits for one any more, nor for the outcome of a write that was under
	// way. During an election, which is worth waiting for, members do listen. With
	// the pauses above it is noticed well within maxAwait.
	stoppedAfter = 300 * time.Millisecond
)

// refusals are the turns in a row in which a member refused the connection, as
// the host of a member that does not run does.
type refusals struct {
	count int
	since time.Time
}

// add notes how a turn has ended, and says whether all of members have refused
// for stoppedAfter.
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

// connectLoop keeps a connection to one member after the other until the
// backend is closed.
func (b *Backend) connectLoop() {
	servers := append([]string(nil), b.cfg.Servers...)
	rand.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
	pause, admission, told := minPause, firstAdmission, false
	var refused refusals
	for turn := 0; b.ctx.Err() == nil; turn++ {
		server := servers[turn%len(servers)]
		lasted, err := b.serve(server, admission)
		if b.ctx.Err() != nil {
			return
		}
		if stopped := refused.add(err, time.Now(), len(servers)); b.stopped.Swap(stopped) != stopped {
			b.publish(nil)
		}
		if lasted > settled {
			pause, admission, told = minPause, firstAdmission, false
		}
		if !told { // once an outage
			told = true
			b.log.Warn("no connection to ZooKeeper", zap.String("server", server), zap.Error(err))
		} else {
			b.log.Debug("no connection to ZooKeeper", zap.String("server", server), zap.Error(err))
		}
		if turn%len(servers) == len(servers)-1 {
			sleep(b.ctx, pause)
			pause, admission = min(2*pause, maxPause), min(2*admission, unanswered)
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

// serve connects to server, which has so long to admit this one, and returns for
// how long it could be used, and why that ended.
func (b *Backend) serve(server string, admission time.Duration) (lasted time.Duration, err error) {
	address, err := resolve(b.ctx, server)
	if err != nil {
		return 0, err
	}
	l, err := newLink(b.ctx, &b.cfg, server, address, maxPacket+64, b.onEvent)
	if err != nil {
		return 0, err
	}
	b.running.Go(func() { l.tend(b.changes) })
	defer b.running.Go(l.retire)
	if err := b.prepare(l, admission); err != nil {
		l.fail(err)
		return 0, err
	}
	l.syncs = newReader()
	l.syncs.begin()
	b.running.Go(func() { l.syncs.serve(b.ctx, l, l, b.changes) })
	for i := range l.readers {
		l.readers[i] = newReader()
	}
	defer b.publish(nil)
	if !b.heard.Load() {
		// Nothing is in memory, so there is no news to catch up with before anything
		// is answered: a server that starts need not wait for that.
		b.publish(l)
	}
	if err := b.catchUp(l); err != nil {
		l.fail(err)
		return 0, err
	}
	b.publish(l)
	b.heard.Store(true)
	b.live.Store(l)
	b.log.Info("connected to ZooKeeper", zap.String("server", server))
	for i := range l.readers {
		b.running.Go(func() { b.read(l, l.readers[i]) })
	}
	began := time.Now()
	b.follow(l)
	return time.Since(began), l.failure()
}

// resolve looks the host up anew: in a cluster that moves its members, the
// address of yesterday is somebody else's.
func resolve(ctx context.Context, server string) (string, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return "", err
	}
	if net.ParseIP(host) != nil {
		return server, nil
	}
	ctx, cancel := context.WithTimeout(ctx, unanswered)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(addresses[rand.IntN(len(addresses))], port), nil
}

// admit waits at most limit for the session of l, and proves who this is.
func (b *Backend) admit(ctx context.Context, l *link, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-l.session:
	case <-l.down:
		return l.failure()
	case <-timer.C:
		return fmt.Errorf("no session within %v", limit)
	case <-ctx.Done():
		return expired(ctx)
	}
	if b.cfg.User == "" {
		return nil
	}
	_, err := do(ctx, l, func(c *zkc.Conn) (struct{}, error) {
		return struct{}{}, c.AddAuth("digest", []byte(b.cfg.User+":"+b.cfg.Password))
	})
	if err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	return nil
}

// prepare admits l, and makes sure that what is read on it is not older than what
// was read before.
func (b *Backend) prepare(l *link, admission time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(b.ctx, maxCall, errTooSlow)
	defer cancel()
	if err := b.admit(ctx, l, admission); err != nil {
		return err
	}
	err := quorum(ctx, l, b.changes)
	if errors.Is(err, zkc.ErrNoNode) {
		if err = b.makePath(ctx, l, b.changes); err == nil {
			err = quorum(ctx, l, b.changes)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b.changes, err)
	}
	return nil
}

// catchUp begins to hear of the changes of the others on l, and drops what they
// have changed meanwhile.
func (b *Backend) catchUp(l *link) error {
	ctx, cancel := context.WithTimeoutCause(b.ctx, maxCall, errTooSlow)
	defer cancel()
	sleep(ctx, settle)
	return b.feed.sync(ctx, l)
}

// quorum returns when the leader and a majority have agreed on a transaction
// that does nothing: what is read on l afterwards is at least as new as all
// writes acknowledged before. (ZooKeeper's own sync is not agreed on: a leader
// that was deposed answers it.) The znode path must exist.
func quorum(ctx context.Context, l *link, path string) error {
	_, err := transact(ctx, l, &zkc.CheckVersionRequest{Path: path, Version: -1})
	return err
}

// makePath makes the znode path with empty data, and the missing ones above it.
func (b *Backend) makePath(ctx context.Context, l *link, path string) error {
	var missing []string
	for p := path; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
		exists, err := do(ctx, l, func(c *zkc.Conn) (bool, error) {
			exists, _, err := c.Exists(p)
			return exists, err
		})
		if err != nil {
			return err
		}
		if exists {
			break
		}
		missing = append(missing, p)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		_, err := do(ctx, l, func(c *zkc.Conn) (string, error) {
			return c.Create(missing[i], []byte{}, zkc.FlagPersistent, b.acl)
		})
		if err != nil && !errors.Is(err, zkc.ErrNodeExists) {
			return fmt.Errorf("create %s: %w", missing[i], err)
		}
	}
	return nil
}

// onEvent is called for every change of a watched znode, in the order of the
// replies. The memory is dropped here, so that nothing that is read after
// this event can be answered with what was before it.
func (b *Backend) onEvent(l *link, ev zkc.Event) {
	if ev.Path == b.changes || strings.HasPrefix(ev.Path, b.changes+"/") {
		l.dirty.add(ev.Path, true)
		return
	}
	if key, ok := b.key(ev.Path); ok {
		b.dropRecord(recordID(key))
		b.cache.drop(listingID(parentOf(key)))
	}
	l.dirty.add(ev.Path, true)
}

func (b *Backend) dropRecord(i id) {
	b.cache.drop(i)
	b.existing.remove(i)
}

// told forgets what is said to have changed, and then tells watchers.
func (b *Backend) told(ids []id) {
	for _, i := range ids {
		b.dropRecord(i &^ quiet)
	}
	b.hub.Tell(loud(ids)...)
}

// missed is for when changes may have gone untold: from now on what is in memory
// is for outages alone.
func (b *Backend) missed() {
	good := b.lastGood.Load()
	if b.live.Load() != nil {
		// They were made within a session at most: what is told sooner is heard of.
		good = sinceBase() - int64(b.cfg.SessionTimeout)
	}
	b.cache.demote(good)
	b.existing.purge()
	b.hub.Missed()
}

// flush forgets everything: it may be of a store that is no more.
func (b *Backend) flush() {
	b.cache.flush()
	b.existing.purge()
	b.hub.Missed()
}
