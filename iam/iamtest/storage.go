// Package iamtest has a storage of identities in memory, for tests of what is
// built on one.
package iamtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"secretstore/iam"
	"secretstore/store"
)

// Cluster is records that several servers share. Its zero value is empty.
type Cluster struct {
	mu      sync.Mutex
	at      uint64            // guarded by mu, as the rest
	records map[string][]byte // by name
	servers []*Storage
}

// Storage is one server's view of a [Cluster]. It implements [iam.Storage]. A change
// reaches the listeners of all servers before Apply returns.
type Storage struct {
	cluster *Cluster
	// guarded by cluster.mu
	listener iam.Listener
	err      error // what Check and Apply return
}

// New returns a storage that no other server shares.
func New() *Storage { return new(Cluster).Server() }

// Server returns the storage as one more server sees it.
func (c *Cluster) Server() *Storage {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Storage{cluster: c}
	c.servers = append(c.servers, s)
	return s
}

// Records returns a copy of all records.
func (c *Cluster) Records() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.records)
}

// Cluster returns what s shares with other servers.
func (s *Storage) Cluster() *Cluster { return s.cluster }

// Follow implements [iam.Storage]. The records are loaded before it returns.
func (s *Storage) Follow(l iam.Listener) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.listener = l
	if s.err == nil {
		s.load()
	}
}

// load tells the listener all records. The caller holds mu.
func (s *Storage) load() {
	var all []iam.Record
	for _, name := range slices.Sorted(maps.Keys(s.cluster.records)) {
		all = append(all, iam.Record{Name: name, Data: s.cluster.records[name]})
	}
	s.listener.Load(s.cluster.at, all, 0)
}

// Check implements [iam.Storage].
func (s *Storage) Check() error {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.err
}

// Seal forgets all records: from now on Check and Apply return err, such as
// seal.ErrSealed. Follow may be called before or after it.
func (s *Storage) Seal(err error) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.err = err
	if s.listener != nil {
		s.listener.Forget()
	}
}

// Unseal loads the records again.
func (s *Storage) Unseal() {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.err = nil
	if s.listener != nil {
		s.load()
	}
}

// Fail makes Check and Apply return err from now on, such as store.ErrUnavailable. Nil
// ends that. What the listener knows stays; it hears of no change meanwhile.
func (s *Storage) Fail(err error) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	ended := s.err != nil && err == nil
	s.err = err
	if ended && s.listener != nil {
		s.load()
	}
}

// Apply implements [iam.Storage].
func (s *Storage) Apply(ctx context.Context, base uint64, put []iam.Record, remove []string) error {
	if ctx.Err() != nil {
		return store.ErrUnavailable
	}
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case base != c.at:
		return iam.ErrConflict
	}
	for _, r := range put {
		if r.Name == "" || len(r.Name) > iam.MaxRecordName || len(r.Data) == 0 || len(r.Data) > iam.MaxRecordBytes {
			return fmt.Errorf("record %q of %d bytes: %w", r.Name, len(r.Data), store.ErrTooLarge)
		}
	}
	if c.records == nil {
		c.records = make(map[string][]byte)
	}
	for _, name := range remove {
		delete(c.records, name)
	}
	for _, r := range put {
		c.records[r.Name] = r.Data
	}
	c.at++
	for _, other := range c.servers {
		if other.listener != nil && other.err == nil {
			other.listener.Change(c.at, put, remove, 0)
		}
	}
	return nil
}
