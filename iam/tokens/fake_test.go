package tokens_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"secretstore/acl"
	"secretstore/acl/token"
	"secretstore/iam"
	"secretstore/iam/tokens"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errSealed = errors.New("sealed")

// cluster is the identities of one store, and the servers that share them.
type cluster struct {
	t       testing.TB
	clock   sync.Mutex // guards now
	now     time.Time
	mu      sync.Mutex // guards the rest, and the state of the servers
	records map[string][]byte
	dir     *iam.Directory
	servers []*server
}

func newCluster(t testing.TB) *cluster {
	return &cluster{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), records: make(map[string][]byte), dir: &iam.Directory{}}
}

func (c *cluster) time() time.Time {
	c.clock.Lock()
	defer c.clock.Unlock()
	return c.now
}

func (c *cluster) wait(d time.Duration) {
	c.clock.Lock()
	defer c.clock.Unlock()
	c.now = c.now.Add(d)
}

// change changes the directory on all servers.
func (c *cluster) change(f func(*iam.Directory) (iam.Change, error)) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, err := f(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	c.dir = c.dir.With(ch.Put, ch.Remove...)
	c.wake()
}

// keys returns how many keys are stored.
func (c *cluster) keys() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.records)
}

// wake is called with mu held.
func (c *cluster) wake() {
	for _, s := range c.servers {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

func (c *cluster) user(uid iam.UID) iam.Identity {
	c.t.Helper()
	c.change(func(d *iam.Directory) (iam.Change, error) {
		return d.CreateUser(iam.User{UID: uid, Provider: iam.Provider{Type: iam.Internal}}, iam.Origin{})
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	who, ok := c.dir.Identity(uid)
	if !ok {
		c.t.Fatal("no account")
	}
	return who
}

// server is one server. It implements tokens.Authority.
type server struct {
	*tokens.Tokens
	c       *cluster
	changed chan struct{}
	era     uint64
	unseals uint64
	away    error          // what Directory returns
	behind  *iam.Directory // nil, or what it has not yet got beyond
	sealed  bool
	file    *iam.Directory
	failing error // of writes
}

// foreign takes tokens "for UID".
type foreign struct{}

func (foreign) Verify(raw string) (acl.Principal, error) {
	if uid, ok := strings.CutPrefix(raw, "for "); ok {
		return acl.Principal{UID: uid}, nil
	}
	return acl.Principal{}, token.ErrInvalid
}

// server starts a server, unsealed unless sealed.
func (c *cluster) server(sealed bool, configure ...func(*tokens.Config)) *server {
	s := &server{c: c, changed: make(chan struct{}), file: &iam.Directory{}}
	if sealed {
		s.sealed, s.away = true, errSealed
	}
	cfg := tokens.Config{Authority: s, Foreign: foreign{}, Now: c.time, Sealed: func() (bool, uint64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return s.sealed, s.unseals
	}}
	for _, f := range configure {
		f(&cfg)
	}
	s.Tokens = tokens.New(cfg)
	c.mu.Lock()
	c.servers = append(c.servers, s)
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	c.t.Cleanup(func() { cancel(); <-done })
	return s
}

// set changes the state of the server.
func (s *server) set(f func(*server)) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	f(s)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) seal() { s.set(func(s *server) { s.sealed, s.away = true, errSealed }) }

// unseal also loads the identities, unless they are away.
func (s *server) unseal(away ...error) {
	s.set(func(s *server) { s.sealed, s.away = false, errors.Join(away...); s.unseals++ })
}

// name has the file name these superusers.
func (s *server) name(superusers ...iam.Identity) {
	s.set(func(s *server) { s.file = (&iam.Directory{}).WithBootstrap(superusers...); s.era++ })
}

func (s *server) Era() uint64 {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.era
}

func (s *server) Directory() (*iam.Directory, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.away != nil {
		return nil, s.away
	}
	if s.behind != nil {
		return s.behind, nil
	}
	return s.c.dir, nil
}

func (s *server) Known() *iam.Directory {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.file
}

func (s *server) Used(iam.UID) {}

func (s *server) Changed() <-chan struct{} {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.changed
}

func (s *server) Records(prefix string) map[string][]byte {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.away != nil {
		return nil
	}
	return s.recordsOf(prefix)
}

func (s *server) recordsOf(prefix string) map[string][]byte {
	found := maps.Clone(s.c.records)
	maps.DeleteFunc(found, func(name string, _ []byte) bool { return !strings.HasPrefix(name, prefix) })
	return found
}

func (s *server) UpdateRecords(_ context.Context, prefix string, f func(map[string][]byte) ([]iam.Record, []string, error)) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.failing != nil {
		return s.failing
	}
	put, remove, err := f(s.recordsOf(prefix))
	if err != nil {
		return err
	}
	for _, r := range put {
		s.c.records[r.Name] = r.Data
	}
	for _, name := range remove {
		delete(s.c.records, name)
	}
	s.c.wake()
	return nil
}

// issue makes a token.
func (s *server) issue(who iam.Identity) string {
	s.c.t.Helper()
	raw, _, err := s.Issue(s.c.t.Context(), who, time.Time{})
	if err != nil {
		s.c.t.Fatal(err)
	}
	return raw
}

// good, refused and unchecked say what Verify must answer.
func (s *server) good(what, raw string, who iam.Identity) {
	s.c.t.Helper()
	if p, err := s.Verify(raw); err != nil || p.UID != string(who.UID) || p.Emergency {
		s.c.t.Errorf("%s: %+v, %v", what, p, err)
	}
}

func (s *server) refused(what, raw string) {
	s.c.t.Helper()
	if p, err := s.Verify(raw); !errors.Is(err, token.ErrInvalid) || errors.Is(err, token.ErrUnchecked) || p.UID != "" {
		s.c.t.Errorf("%s: %+v, %v; want it refused", what, p, err)
	}
}

func (s *server) unchecked(what, raw string, why error) {
	s.c.t.Helper()
	if p, err := s.Verify(raw); !errors.Is(err, token.ErrUnchecked) || !errors.Is(err, why) || errors.Is(err, token.ErrInvalid) || p.UID != "" {
		s.c.t.Errorf("%s: %+v, %v; want %v", what, p, err, why)
	}
}
