package zk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"

	"secretstore/store"
)

// The client's calls have no deadlines, and a hung server answers none of them.
const (
	// unanswered is how long a call may go without an answer before its
	// connection is given up for another member.
	unanswered = 2 * time.Second
	// heartbeat is how long a connection may be silent before it is asked
	// whether it still lives, so that a cut is noticed when nobody calls.
	heartbeat = time.Second
	// tick is how often both are looked at.
	tick = 250 * time.Millisecond
	// ticks is the size of the ring that counts the unanswered calls; longer
	// than unfinished.
	ticks = 64
	// unfinished takes the place of unanswered when at least progress bytes
	// have arrived in one of the last few ticks (digesting): a large reply, of
	// which a listing is one, takes its time on a slow network, and then to be
	// decoded.
	unfinished = 10 * time.Second
	progress   = 16 << 10
	digesting  = 4
	// nap is how late tend may be before the process counts as having been
	// stopped: what the server has sent meanwhile has yet to be read.
	nap = 4 * tick
	// maxCalls bounds the calls under way on one connection, each of which
	// costs a goroutine.
	maxCalls = 1024
	// maxReply bounds what one reply may make this process allocate. A listing
	// of a million names of 60 bytes passes.
	maxReply = 64 << 20
)

// errLost: the connection ended before the answer came. Whether a write took
// effect is not known.
var errLost = errors.New("connection to ZooKeeper lost")

// link is one connection to one member, with a session of its own. It is never
// reconnected: the library would keep watches and credentials across
// connections, which goes wrong in ways that cannot be seen from outside
// (watches lost on expiry, a growing list of credentials), and nothing here
// needs a session to outlive its connection. A link that is down is retired and
// another is made.
type link struct {
	server  string // host:port as configured
	address string // what it was resolved to
	tls     *tls.Config
	log     *zap.Logger
	onEvent func(zkc.Event) // node events, in the order of the replies; must not block

	conn    *zkc.Conn
	session chan struct{} // closed when the session is there
	down    chan struct{} // closed by fail
	slots   chan struct{} // one token for each call under way

	dialing context.Context // ends when dialling has taken too long or fail is called
	endDial context.CancelFunc
	dialed  atomic.Bool // a link dials once
	events  <-chan zkc.Event
	dirty   *dirty // watches that have fired

	received  atomic.Int64        // bytes
	now       atomic.Int64        // ticks so far
	pending   [ticks]atomic.Int32 // unanswered calls, by the tick they began in
	lastReply atomic.Int64        // when the server last answered, ns after clockBase
	ticked    atomic.Int64        // when tend last looked, ns after clockBase
	naps      atomic.Int64        // how often tend found that the process had been stopped
	asked     atomic.Int64        // after how many of them the server has answered a question put since
	caughtUp  atomic.Int64        // after how many of them all that was told before that answer has been followed
	sessionOn sync.Once

	// Set before the link is published, then constant.
	syncs   *reader          // on this very connection
	readers [readers]*reader // on others

	rousing sync.Mutex
	roused  int64 // after how many naps nobody relies on kept listings; guarded by rousing

	mu     sync.Mutex
	tcp    net.Conn // guarded by mu
	reason error    // why the link is down; guarded by mu
}

// clockBase makes monotonic times fit into an atomic.
var clockBase = time.Now()

func sinceBase() int64 { return time.Since(clockBase).Nanoseconds() }

// newLink begins to connect. The caller waits for session or down, and retires
// the link in every case. ctx is for dialling only. Requests may have up to
// sendBuffer bytes, which are allocated.
func newLink(ctx context.Context, cfg *Config, server, address string, sendBuffer int, onEvent func(*link, zkc.Event)) (*link, error) {
	l := &link{
		server: server, address: address, tls: cfg.TLS, log: cfg.Log,
		session: make(chan struct{}), down: make(chan struct{}), slots: make(chan struct{}, maxCalls), dirty: newDirty(),
	}
	l.onEvent = func(ev zkc.Event) { onEvent(l, ev) }
	l.dialing, l.endDial = context.WithTimeout(ctx, unanswered)
	l.replied()
	l.ticked.Store(sinceBase())
	conn, events, err := zkc.Connect([]string{address}, cfg.SessionTimeout,
		zkc.WithDialer(l.dial),
		zkc.WithHostProvider(&oneServer{address: address}),
		zkc.WithEventCallback(l.event),
		zkc.WithLogger(clientLog{cfg.Log}),
		zkc.WithLogInfo(false),
		zkc.WithMaxBufferSize(maxReply),
		zkc.WithMaxConnBufferSize(sendBuffer),
	)
	if err != nil {
		l.endDial()
		return nil, err
	}
	l.conn = conn
	l.events = events
	return l, nil
}

// dial is the library's dialer: it keeps the connection, so that fail can
// close it. It works once; see link.
func (l *link) dial(_, _ string, _ time.Duration) (net.Conn, error) {
	if l.dialed.Swap(true) {
		return nil, errLost
	}
	conn, err := (&net.Dialer{}).DialContext(l.dialing, "tcp", l.address)
	if err != nil {
		l.fail(err)
		return nil, err
	}
	l.mu.Lock()
	l.tcp = conn
	failed := l.reason != nil
	l.mu.Unlock()
	if failed {
		conn.Close()
		return nil, errLost
	}
	if l.tls == nil {
		return guard(conn, &l.received), nil
	}
	secure := tls.Client(conn, l.tlsConfig())
	if err := secure.HandshakeContext(l.dialing); err != nil {
		l.fail(fmt.Errorf("TLS with %s: %w", l.server, err))
		return nil, err
	}
	return guard(secure, &l.received), nil
}

func (l *link) tlsConfig() *tls.Config {
	cfg := l.tls.Clone()
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		cfg.ServerName, _, _ = net.SplitHostPort(l.server)
	}
	return cfg
}

// event is the library's callback. It runs in the goroutine that reads the
// replies, in their order.
func (l *link) event(ev zkc.Event) {
	switch {
	case ev.Type == zkc.EventSession && ev.State == zkc.StateHasSession:
		l.sessionOn.Do(func() { close(l.session) })
	case ev.Type == zkc.EventSession && ev.State == zkc.StateDisconnected,
		ev.Type == zkc.EventSession && ev.State == zkc.StateExpired:
		l.fail(errLost)
	case ev.Type > 0:
		l.onEvent(ev)
	}
}

// fail ends the connection. The first reason is the one that is remembered.
func (l *link) fail(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reason != nil {
		return
	}
	l.reason = reason
	l.endDial()
	if l.tcp != nil {
		l.tcp.Close()
	}
	close(l.down)
}

// failure returns why the connection ended, nil if it has not.
func (l *link) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// retire ends the session if it can, and returns when nothing of the link runs
// any more: within about three seconds.
func (l *link) retire() {
	l.conn.Close()
	l.fail(errLost)
	for range l.events { // closed when the library's goroutines have ended
	}
	for range maxCalls {
		l.slots <- struct{}{} // never given back: no call begins any more
	}
}

// tend watches over the link until it is down: it fails a link whose calls stay
// unanswered, and asks one that is silent whether it lives.
func (l *link) tend(askFor string) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	before, busy := int64(0), 0
	for {
		select {
		case <-l.down:
			return
		case <-ticker.C:
		}
		if sinceBase()-l.ticked.Load() > int64(nap) {
			l.naps.Add(1) // before ticked, for asleep
		}
		l.ticked.Store(sinceBase())
		received := l.received.Load()
		if busy--; received-before >= progress {
			busy = digesting
		}
		before = received
		limit := unanswered
		if busy > 0 {
			limit = unfinished
		}
		if l.overdue(l.now.Add(1), limit) {
			l.fail(fmt.Errorf("no answer for %v", limit))
			return
		}
		if l.silence() >= heartbeat || l.caughtUp.Load() != l.naps.Load() {
			l.ask(askFor)
		}
	}
}

// asleep says whether this process was stopped, or got no time to run, and has
// yet to follow what the server has sent meanwhile. The memory is not to be
// asked then: a seal may be among it. count tells the naps apart.
func (l *link) asleep() (yes bool, count int64) {
	count = l.naps.Load()
	if sinceBase()-l.ticked.Load() > int64(nap) {
		return true, count + 1 // tend will count it
	}
	return l.caughtUp.Load() != count, count
}

// overdue says whether a call began at least limit before tick now and has no
// answer yet.
func (l *link) overdue(now int64, limit time.Duration) bool {
	for age := int64(limit / tick); age < ticks-1; age++ {
		if now >= age && l.pending[(now-age)%ticks].Load() > 0 {
			return true
		}
	}
	return false
}

// ask sends a heartbeat. Whatever was sent before its answer has been read when
// the answer has. If all slots are taken, calls are under way, and
// overdue will tell.
func (l *link) ask(path string) {
	select {
	case l.slots <- struct{}{}:
		go func() {
			defer l.end(l.begin())
			naps := l.naps.Load()
			_, _, err := l.conn.Exists(path)
			if l.heard(err) && l.asked.Swap(naps) != naps {
				l.dirty.poke()
			}
		}()
	default:
	}
}

func (l *link) begin() int64 {
	now := l.now.Load()
	l.pending[now%ticks].Add(1)
	return now
}

func (l *link) end(began int64) {
	l.pending[began%ticks].Add(-1)
	<-l.slots
}

// heard notes an answer of the server, if err is one.
func (l *link) heard(err error) bool {
	yes := err == nil || answered(err)
	if yes {
		l.replied()
	}
	return yes
}

func (l *link) replied() { l.lastReply.Store(sinceBase()) }

// silence is how long ago the server last answered.
func (l *link) silence() time.Duration {
	return time.Duration(sinceBase() - l.lastReply.Load())
}

// answered says whether err is what a server says about a request, as opposed
// to a failure on the way. Everything that is not known is a failure: a write
// is then looked for, not believed refused.
func answered(err error) bool {
	for _, known := range []error{
		zkc.ErrNoNode, zkc.ErrNodeExists, zkc.ErrBadVersion, zkc.ErrNotEmpty, zkc.ErrNoAuth,
		zkc.ErrNoChildrenForEphemerals, zkc.ErrInvalidACL, zkc.ErrAuthFailed, zkc.ErrBadArguments,
		zkc.ErrInvalidPath, // what the library says of names that others have made; nothing was sent
		store.ErrNotFound,  // what getNode makes of an answer
		errRefused,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// do makes one call on l and returns by the end of ctx or of the connection.
// An error is what the server said (see answered), or matches errLost, or
// matches store.ErrUnavailable when ctx ended first.
func do[T any](ctx context.Context, l *link, call func(*zkc.Conn) (T, error)) (T, error) {
	type reply struct {
		value T
		err   error
	}
	var zero T
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return zero, expired(ctx)
	case <-l.down:
		return zero, errLost
	}
	answers := make(chan reply, 1)
	go func() {
		defer l.end(l.begin())
		value, err := call(l.conn)
		l.heard(err)
		if err != nil && !answered(err) {
			err = fmt.Errorf("%w: %w", errLost, err)
		}
		answers <- reply{value, err}
	}()
	select {
	case r := <-answers:
		return r.value, r.err
	case <-ctx.Done():
		return zero, expired(ctx)
	case <-l.down:
	}
	select {
	case r := <-answers: // it came, and then the connection went
		return r.value, r.err
	default:
		return zero, errLost
	}
}

// errRefused: the server has refused a transaction, and nothing of it has taken
// effect.
var errRefused = errors.New("refused by ZooKeeper")

// transact does ops in one transaction. With errRefused the results say which
// operation it was; the reason may be one that the library does not know
// (a quota, for one), which alone would look like a failure on the way.
func transact(ctx context.Context, l *link, ops ...any) ([]zkc.MultiResponse, error) {
	return do(ctx, l, func(c *zkc.Conn) ([]zkc.MultiResponse, error) {
		results, err := c.Multi(ops...)
		if at := culprit(results); at >= 0 && len(results) == len(ops) {
			err = fmt.Errorf("%w: %w", errRefused, results[at].Error)
		}
		return results, err
	})
}

// culprit returns which operation was refused, -1 for none. (The ones after it
// have errors as well.)
func culprit(results []zkc.MultiResponse) int {
	return slices.IndexFunc(results, func(r zkc.MultiResponse) bool { return r.Error != nil })
}

func expired(ctx context.Context) error {
	return fmt.Errorf("%w: %w", store.ErrUnavailable, context.Cause(ctx))
}

// oneServer makes the library try one address once; after that it waits to be
// closed.
type oneServer struct {
	address string
	tried   atomic.Bool
}

func (s *oneServer) Init([]string) error { return nil }
func (s *oneServer) Len() int            { return 1 }
func (s *oneServer) Connected()          {}
func (s *oneServer) Next() (server string, retryStart bool) {
	return s.address, s.tried.Swap(true)
}

// clientLog passes on what the library says. It knows paths and addresses, no
// data and no credentials.
type clientLog struct{ log *zap.Logger }

func (c clientLog) Printf(format string, args ...any) {
	if ce := c.log.Check(zap.DebugLevel, "ZooKeeper client"); ce != nil {
		ce.Write(zap.String("says", fmt.Sprintf(format, args...)))
	}
}
