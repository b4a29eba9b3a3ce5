// Package session is one connection to one member of a ZooKeeper ensemble, with
// its own session and with deadlines, which the client library does not
// have: its calls wait for as long as a member that hangs gives no answer.
//
// A Session is never reconnected. The library would keep watches and credentials
// across connections, which goes wrong in ways that cannot be seen from outside
// (watches lost on expiry, a growing list of credentials), and nothing in store/zk
// needs a session to outlive its connection. A Session that has ended is retired,
// and another is made.
//
// The state of a Session only moves forward:
//
//	dialing ── Admit ──► admitted ── Fail, an unanswered call, the member ──► ended ── Retire
//	   └──────────────── Fail, no session in time ───────────────────────────►┘
//
// It knows nothing of records: package zk decides what is read on it.
package session

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	zkc "github.com/go-zookeeper/zk"
	"go.uber.org/zap"
)

const (
	// Heartbeat is how long a connection may be silent before it is asked
	// whether it still lives, so that a cut is noticed when there are no calls.
	Heartbeat = time.Second
	// tick is how often calls and silence are checked.
	tick = 250 * time.Millisecond
	// ticks is the size of the ring that counts the unanswered calls; longer
	// than unfinished and Config.Unanswered.
	ticks = 64
	// unfinished takes the place of a shorter Unanswered when at least progress bytes
	// have arrived in one of the last few ticks (digesting): a large reply, such
	// as a listing, takes its time on a slow network, and then to be decoded.
	unfinished = 10 * time.Second
	progress   = 16 << 10
	digesting  = 4
	// pause is how late Tend may be before the process counts as having been
	// stopped: what the server has sent meanwhile has yet to be read.
	pause = 4 * tick
	// maxCalls bounds the calls under way on one connection, each of which
	// costs a goroutine.
	maxCalls = 1024
	// maxReply bounds one reply. Decoded, it takes a few times as much. A listing
	// of a million names of 60 bytes passes.
	maxReply = 64 << 20
)

// Config says where a session is made, and for whom.
type Config struct {
	Server  string      // host:port as configured
	Address string      // what Server was resolved to
	TLS     *tls.Config // nil is plain TCP; without a ServerName the host of Server is verified
	Timeout time.Duration
	// Unanswered is how long a call may go without an answer before the session
	// fails, and how long dialing may take; at most 15 s.
	Unanswered time.Duration
	// User and Password are proved with digest authentication, if there is a User.
	User, Password string
	// MaxRequest is the size of a buffer for requests: larger ones fail.
	MaxRequest int
	Log        *zap.Logger
	// OnEvent gets the events of watches, in the order of the replies: nothing
	// that was sent after an event is answered before OnEvent returns. It must not
	// block.
	OnEvent func(zkc.Event)
	// OnAwake is called when the server has answered for the first time since the
	// process was paused; see Paused. It must not block.
	OnAwake func()
}

// Session is one connection. Make it with New.
type Session struct {
	cfg  Config
	conn *zkc.Conn

	established chan struct{} // closed when the session is there
	ended       chan struct{} // closed by Fail
	calls       calls

	dialing context.Context // ends when dialing has taken too long or Fail is called
	endDial context.CancelFunc
	dialed  atomic.Bool // a Session dials once
	events  <-chan zkc.Event

	received  atomic.Int64 // bytes
	lastReply atomic.Int64 // when the server last answered; see Now
	ticked    atomic.Int64 // when Tend last ran; see Now
	pauses    atomic.Int64 // how often Tend found that the process had been stopped
	awake     atomic.Int64 // see Awake
	once      sync.Once    // closes established

	mu     sync.Mutex
	tcp    net.Conn // guarded by mu
	reason error    // why the session ended; guarded by mu
}

// clockBase makes monotonic times fit into an atomic.
var clockBase = time.Now()

// Now is a monotonic clock in nanoseconds. It says nothing about the time of day.
func Now() int64 { return time.Since(clockBase).Nanoseconds() }

// New begins to connect. The caller calls Tend and Admit, and Retire in every
// case. ctx is for dialing only.
func New(ctx context.Context, cfg Config) (*Session, error) {
	s := &Session{
		cfg:         cfg,
		established: make(chan struct{}), ended: make(chan struct{}), calls: calls{slots: make(chan struct{}, maxCalls)},
	}
	s.dialing, s.endDial = context.WithTimeout(ctx, cfg.Unanswered)
	s.replied()
	s.ticked.Store(Now())
	conn, events, err := zkc.Connect([]string{cfg.Address}, cfg.Timeout,
		zkc.WithDialer(s.dial),
		zkc.WithHostProvider(&oneServer{address: cfg.Address}),
		zkc.WithEventCallback(s.event),
		zkc.WithLogger(clientLog{cfg.Log}),
		zkc.WithLogInfo(false),
		zkc.WithMaxBufferSize(maxReply),
		zkc.WithMaxConnBufferSize(cfg.MaxRequest),
	)
	if err != nil {
		s.endDial()
		return nil, err
	}
	s.conn = conn
	s.events = events
	return s, nil
}

// dial is the library's dialer. It keeps the connection, so that Fail can close
// it, and works once; see the package comment.
func (s *Session) dial(_, _ string, _ time.Duration) (net.Conn, error) {
	if s.dialed.Swap(true) {
		return nil, ErrLost
	}
	conn, err := (&net.Dialer{}).DialContext(s.dialing, "tcp", s.cfg.Address)
	if err != nil {
		s.Fail(err)
		return nil, err
	}
	s.mu.Lock()
	s.tcp = conn
	failed := s.reason != nil
	s.mu.Unlock()
	if failed {
		conn.Close()
		return nil, ErrLost
	}
	if s.cfg.TLS == nil {
		return guard(conn, &s.received, s.Fail), nil
	}
	secure := tls.Client(conn, ForServer(s.cfg.TLS, s.cfg.Server))
	if err := secure.HandshakeContext(s.dialing); err != nil {
		s.Fail(fmt.Errorf("TLS with %s: %w", s.cfg.Server, err))
		return nil, err
	}
	return guard(secure, &s.received, s.Fail), nil
}

// ForServer returns the configuration for one server, host:port. Without a
// ServerName its host is verified.
func ForServer(cfg *tls.Config, server string) *tls.Config {
	out := cfg.Clone()
	if out.ServerName == "" && !out.InsecureSkipVerify {
		out.ServerName, _, _ = net.SplitHostPort(server)
	}
	return out
}

// event is the library's callback. It runs in the goroutine that reads the
// replies, in their order.
func (s *Session) event(ev zkc.Event) {
	switch {
	case ev.Type == zkc.EventSession && ev.State == zkc.StateHasSession:
		s.once.Do(func() { close(s.established) })
	case ev.Type == zkc.EventSession && ev.State == zkc.StateDisconnected,
		ev.Type == zkc.EventSession && ev.State == zkc.StateExpired:
		s.Fail(ErrLost)
	case ev.Type > 0 && s.cfg.OnEvent != nil:
		s.cfg.OnEvent(ev)
	}
}

// Admit waits at most limit for the session, and proves who this is.
func (s *Session) Admit(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.established:
	case <-s.ended:
		return s.Err()
	case <-timer.C:
		return fmt.Errorf("no session within %v", limit)
	case <-ctx.Done():
		return expired(ctx)
	}
	if s.cfg.User == "" {
		return nil
	}
	_, err := Do(ctx, s, func(c *zkc.Conn) (struct{}, error) {
		return struct{}{}, c.AddAuth("digest", []byte(s.cfg.User+":"+s.cfg.Password))
	})
	if err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	return nil
}

// Fail ends the session. The first reason is the one that Err returns.
func (s *Session) Fail(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return
	}
	s.reason = reason
	s.endDial()
	if s.tcp != nil {
		s.tcp.Close()
	}
	close(s.ended)
}

// Ended is closed when the session has ended.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Err returns why the session ended, nil if it has not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// Retire ends the session if it can, and returns when nothing of it runs any
// longer: within about three seconds.
func (s *Session) Retire() {
	s.conn.Close()
	s.Fail(ErrLost)
	for range s.events { // closed when the library's goroutines have ended
	}
	for range maxCalls {
		s.calls.slots <- struct{}{} // never given back: no call can begin
	}
}

// Server returns the member as it was configured.
func (s *Session) Server() string { return s.cfg.Server }

// ID returns the id that ZooKeeper has given to the session.
func (s *Session) ID() int64 { return s.conn.SessionID() }

// LastReply is when the server last answered; see Now.
func (s *Session) LastReply() int64 { return s.lastReply.Load() }

// Silence is how long ago the server last answered.
func (s *Session) Silence() time.Duration { return time.Duration(Now() - s.LastReply()) }

func (s *Session) replied() { s.lastReply.Store(Now()) }

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

// clientLog passes on what the library logs. It knows paths and addresses, no
// data and no credentials.
type clientLog struct{ log *zap.Logger }

func (c clientLog) Printf(format string, args ...any) {
	if ce := c.log.Check(zap.DebugLevel, "ZooKeeper client"); ce != nil {
		ce.Write(zap.String("says", fmt.Sprintf(format, args...)))
	}
}
