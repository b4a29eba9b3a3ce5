package zk

import (
	"time"

	"secretstore/store/zk/internal/session"
)

// Stats is how a Backend is doing, for operators.
type Stats struct {
	// Hits and Misses count the reads that may be answered from memory: those
	// that were, and those for which ZooKeeper was asked.
	Hits, Misses uint64
	// Entries and Bytes are what is in memory, about.
	Entries int
	Bytes   uint64
	// Lag is for how long a change by another server may have gone unnoticed.
	// While changes are followed it stays near or below a second, the time between
	// two signs of life on an idle connection. It includes changes that were
	// announced and whose records are not read yet.
	Lag time.Duration
	// Incomplete: some change records cannot be read, or there are too many, so
	// nothing is kept in memory.
	Incomplete bool
}

// Stats returns how the backend is doing. It asks nothing of ZooKeeper.
func (b *Backend) Stats() Stats {
	s := Stats{Hits: b.cache.hits.Load(), Misses: b.cache.misses.Load(), Lag: b.cache.lag(), Incomplete: b.cache.incomplete.Load()}
	s.Entries, s.Bytes = b.cache.entries.Size()
	return s
}

// lag is for how long a change may have gone unnoticed.
func (r *recordCache) lag() time.Duration {
	if c := r.following.Load(); c != nil {
		return max(c.Silence(), c.fired.pending())
	}
	// Before changes were followed for the first time, since the process began.
	return time.Duration(session.Now() - r.lastGood.Load())
}
