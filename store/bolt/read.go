package bolt

import (
	"runtime/debug"

	bbolt "go.etcd.io/bbolt"
)

// readTx is a read transaction in which a fault (a damaged page, a file cut
// short under its mapping) becomes an error of this one call.
type readTx struct {
	b     *Backend
	h     *handle // on which it began; another may be current by now
	tx    *bbolt.Tx
	fault bool // the former debug.SetPanicOnFault
}

// lockEdges locks the edges of the current file and returns it. It stays the
// current one until they are unlocked.
func (b *Backend) lockEdges() *handle {
	for {
		h := b.current.Load()
		h.edges.Lock()
		if b.current.Load() == h {
			return h
		}
		h.edges.Unlock()
	}
}

// begin opens a read transaction. The caller defers its end.
func (b *Backend) begin() (r readTx, err error) {
	r = readTx{b: b, fault: debug.SetPanicOnFault(true)}
	r.h = b.lockEdges()
	defer r.h.edges.Unlock()
	defer func() {
		if p := recover(); p != nil {
			// bbolt reads the meta pages with its locks held.
			err = damage(b.path, p)
			b.breakDown(err)
		}
		if err != nil {
			debug.SetPanicOnFault(r.fault)
		}
	}()
	if err := b.up(); err != nil {
		return r, err
	}
	r.tx, err = r.h.db.Begin(false)
	if err != nil {
		return r, b.unavailable(err)
	}
	return r, nil
}

// records returns the bucket, nil only in a file that Open would refuse.
func (r readTx) records() *bbolt.Bucket { return r.tx.Bucket(recordsBucket) }

// end is deferred: it turns a panic into *err and closes the transaction.
func (r readTx) end(err *error) {
	defer debug.SetPanicOnFault(r.fault)
	if p := recover(); p != nil {
		*err = damage(r.b.path, p)
	}
	if !r.h.edges.TryLock() {
		go r.rollback()
		return
	}
	defer r.h.edges.Unlock()
	r.rollback()
}

// rollback ends a read transaction. It fails only on one that has already ended.
func (r readTx) rollback() {
	if r.b.broken.Load() == nil {
		_ = r.tx.Rollback()
	}
}
