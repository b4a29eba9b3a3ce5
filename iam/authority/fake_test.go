package authority_test

import (
	"context"
	"errors"
	"maps"
	"sync"

	"secretstore/iam"
)

var errSealed = errors.New("the secret store is sealed")

// cluster is a storage that several servers share, in memory.
type cluster struct {
	mu      sync.Mutex
	at      uint64
	records map[string][]byte
	servers []*server
	writes  int
}

// server is the storage of one server.
type server struct {
	*cluster
	listener iam.Listener
	err      error // of Check
	away     error // of Apply
	lost     string
}

func newCluster() *cluster { return &cluster{records: make(map[string][]byte)} }

func (c *cluster) server() *server {
	s := &server{cluster: c, err: errSealed}
	c.servers = append(c.servers, s)
	return s
}

func (s *server) Follow(l iam.Listener) { s.listener = l }

func (s *server) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *server) Lost(name string) bool { return name == s.lost }

// unseal loads what there is.
func (s *server) unseal(damaged int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []iam.Record
	for name, data := range s.records {
		all = append(all, iam.Record{Name: name, Data: data})
	}
	s.listener.Load(s.at, all, damaged)
	s.err = nil
}

func (s *server) seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errSealed
	s.listener.Forget()
}

// leave takes the storage away from writers.
func (s *server) leave(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

// put writes behind the back of the servers that check their changes.
func (c *cluster) put(put ...iam.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(put, nil)
}

func (c *cluster) write(put []iam.Record, remove []string) {
	c.at++
	c.writes++
	for _, name := range remove {
		delete(c.records, name)
	}
	for _, r := range put {
		c.records[r.Name] = r.Data
	}
	for _, s := range c.servers {
		if s.err == nil {
			s.listener.Change(c.at, put, remove, 0)
		}
	}
}

func (s *server) Apply(ctx context.Context, base uint64, put []iam.Record, remove []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.err, s.away); err != nil {
		return err
	}
	if base != s.at {
		return iam.ErrConflict
	}
	s.write(put, remove)
	return nil
}

// content returns the records.
func (c *cluster) content() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.records)
}
