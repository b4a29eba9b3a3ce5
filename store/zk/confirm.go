package zk

import (
	"context"
	"errors"
	"sync"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
)

// A linearizable read of a record that is in memory need not fetch it again. It
// asks the ensemble, in one transaction with all others who ask, whether the znode
// still is at the version that is in memory: a quorum has to agree on that, so no
// deposed leader can. This is not yet enough, for the versions of a znode that was
// deleted and made again begin where the old ones did. But a server that does this
// says so in its change record, and the word that this has changed comes, on the
// connection that makes the transaction, before the answer. So what is in memory
// is what the storage holds if it is still there once every such word has been
// followed.
//
// Only a znode that is deleted and made again by hand, to the very version, goes
// unseen until relookAfter.

// confirmation is a question whether the znode path is at version.
type confirmation struct {
	path    string
	version int32
	done    chan bool // gets one answer
}

// confirmer asks on one connection, one transaction at a time; what has arrived
// meanwhile is the next one.
type confirmer struct {
	wake chan struct{} // holds a token when somebody waits

	mu      sync.Mutex
	ended   bool           // guarded by mu
	waiting []confirmation // guarded by mu
}

func newConfirmer() *confirmer { return &confirmer{wake: make(chan struct{}, 1)} }

// maxConfirmations bounds one transaction, which is far from maxPacket with the
// longest of paths.
const maxConfirmations = 512

// confirm says whether the znode path was at version at some time since the call
// began. No is also said where that could not be found out.
func (c *confirmer) confirm(ctx context.Context, path string, version int32) bool {
	done := make(chan bool, 1)
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return false
	}
	c.waiting = append(c.waiting, confirmation{path, version, done})
	c.mu.Unlock()
	notify(c.wake)
	select {
	case yes := <-done:
		return yes
	case <-ctx.Done():
		return false
	}
}

func (c *confirmer) take() []confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.waiting), maxConfirmations)
	batch := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	if len(c.waiting) > 0 {
		notify(c.wake)
	} else {
		c.waiting = nil
	}
	return batch
}

// end answers all that wait, and will.
func (c *confirmer) end() {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting, c.ended = nil, true
	c.mu.Unlock()
	answerAll(waiting, false)
}

func answerAll(batch []confirmation, yes bool) {
	for _, one := range batch {
		one.done <- yes
	}
}

// serve asks on l until that is down.
func (c *confirmer) serve(ctx context.Context, l *link) {
	defer c.end()
	for {
		select {
		case <-l.down:
			return
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		if batch := c.take(); len(batch) > 0 {
			answer(ctx, l, batch)
		}
	}
}

// maxSpoilt bounds how often a transaction is tried again without those that it
// was refused for.
const maxSpoilt = 3

// answer answers batch: no to those whose znode is at another version, as one
// that is just being written over, and to all where it cannot be found out.
func answer(ctx context.Context, l *link, batch []confirmation) {
	for range maxSpoilt {
		ops := make([]any, 0, len(batch))
		at := make(map[zkc.CheckVersionRequest]bool, len(batch))
		for _, one := range batch {
			check := zkc.CheckVersionRequest{Path: one.path, Version: one.version}
			if !at[check] {
				at[check] = true
				ops = append(ops, &check)
			}
		}
		results, err := transact(ctx, l, ops...)
		if err == nil {
			answerAll(batch, l.followed.Load() >= l.dirty.told.Load())
			return
		}
		if !errors.Is(err, errRefused) {
			break
		}
		refused := *ops[culprit(results)].(*zkc.CheckVersionRequest)
		rest := batch[:0]
		for _, one := range batch {
			if one.path == refused.Path && one.version == refused.Version {
				one.done <- false
			} else {
				rest = append(rest, one)
			}
		}
		if batch = rest; len(batch) == 0 {
			return
		}
	}
	answerAll(batch, false)
}

// confirmed returns what is in memory of a record if the ensemble says that it
// still holds that. Otherwise the record has to be read.
func (b *Backend) confirmed(ctx context.Context, key store.Key, d store.Digest) (store.Node, bool) {
	e, ok := b.cache.get(d)
	if !ok || e.missing() || sinceBase()-e.read > int64(b.relookAfter) {
		return store.Node{}, false
	}
	l := b.live.Load()
	if l == nil || !l.confirms.confirm(ctx, b.path(key), int32(e.version)) {
		return store.Node{}, false
	}
	// After the answer: whatever has been told by then has left the memory.
	if now, ok := b.cache.get(d); !ok || now != e || e.doubted.Load() != 0 {
		return store.Node{}, false
	}
	return e.node(0), true
}
