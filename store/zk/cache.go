package zk

import (
	"fmt"
	"sync/atomic"
	"time"

	"secretstore/store"
	"secretstore/store/zk/internal/memory"
	"secretstore/store/zk/internal/session"
)

// recordCache is the memory, and decides whether an entry may be served and at
// what age. It knows the connection on which changes are followed.
type recordCache struct {
	entries  *memory.Cache
	existing *memory.Existing
	maxStale time.Duration
	// maxSilence is how long the memory counts as fresh without an answer of the
	// server: the heartbeat, and the time after which a call counts as unanswered.
	// It is constant but in tests.
	maxSilence time.Duration
	// recheckAfter is constant but in tests.
	recheckAfter time.Duration

	following  atomic.Pointer[connection] // the connection, once changes are followed on it
	lastGood   atomic.Int64               // until when the memory is right while following is nil; see session.Now
	followed   atomic.Bool                // changes were followed once; before, nothing is kept
	incomplete atomic.Bool                // not all changes are published: nothing may be kept

	hits, misses atomic.Uint64 // of reads that may be answered from memory
}

func newRecordCache(cfg *Config) (*recordCache, error) {
	entries, err := memory.New(cfg.CacheBytes)
	if err != nil {
		return nil, err
	}
	existing, err := memory.NewExisting(memory.MaxExisting)
	if err != nil {
		return nil, err
	}
	return &recordCache{entries: entries, existing: existing, maxStale: cfg.MaxStale, maxSilence: session.Heartbeat + cfg.testOnlyLimits.unanswered, recheckAfter: recheckAfter}, nil
}

func (r *recordCache) close() {
	r.entries.Close()
	r.existing.Close()
}

// exists says whether a record is likely to exist.
func (r *recordCache) exists(i store.ID) bool { return r.existing.Has(i) }

// lookup answers from memory: an entry and its age, or nil if the storage has to
// be asked.
func (r *recordCache) lookup(d store.Digest) (*memory.Entry, time.Duration, error) {
	e, ok := r.entries.Get(d)
	if !ok {
		return nil, 0, nil
	}
	var last int64
	if c := r.following.Load(); c != nil {
		if pause, behind := c.behind(); behind {
			c.once(pause, func() { r.entries.Doubt(session.Now()) })
			return nil, 0, nil
		}
		if c.Silence() < r.maxSilence {
			if e.Doubted.Load() != 0 || session.Now()-e.Read > int64(r.recheckAfter) {
				return nil, 0, nil
			}
			return e, 0, nil
		}
		last = c.LastReply()
	} else {
		last = r.lastGood.Load()
	}
	if doubted := e.Doubted.Load(); doubted != 0 {
		last = min(last, doubted)
	}
	if r.maxStale == 0 {
		return nil, 0, nil
	}
	age := time.Duration(session.Now() - last)
	if age > r.maxStale {
		return nil, 0, fmt.Errorf("%w: for longer than %v", store.ErrUnavailable, r.maxStale)
	}
	return e, age, nil
}

// keep keeps what was read, if changes of it are published.
func (r *recordCache) keep(i store.ID, ticket uint64, e *memory.Entry) {
	if r.incomplete.Load() || !r.followed.Load() || !r.entries.Put(i, ticket, e) {
		e.Left()
	}
}

// wrote keeps what this server wrote, if changes of it are published.
func (r *recordCache) wrote(i store.ID, ticket uint64, e *memory.Entry) {
	if r.incomplete.Load() || !r.followed.Load() {
		r.entries.Drop(i)
		return
	}
	r.entries.Wrote(i, ticket, e)
}

// connected is called once changes are followed on c.
func (r *recordCache) connected(c *connection) {
	r.followed.Store(true)
	r.following.Store(c)
}

// disconnected is called when the connection ends.
func (r *recordCache) disconnected() {
	if c := r.following.Load(); c != nil {
		r.lastGood.Store(c.LastReply())
		r.following.Store(nil)
	}
}

func (r *recordCache) dropRecord(i store.ID) {
	r.entries.Drop(i)
	r.existing.Remove(i)
}

// demote keeps what is in memory for outages alone, since changes may have been
// missed that were made less than sessionTimeout ago.
func (r *recordCache) demote(sessionTimeout time.Duration) {
	good := r.lastGood.Load()
	if r.following.Load() != nil {
		// They were made within a session at most: older ones were seen.
		good = session.Now() - int64(sessionTimeout)
	}
	r.entries.Demote(good)
	r.existing.Purge()
}

// flush forgets everything.
func (r *recordCache) flush() {
	r.entries.Flush()
	r.existing.Purge()
}
