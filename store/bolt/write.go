package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
	"secretstore/store/internal/local"
)

// maxBatch bounds, in bytes of data, one transaction of the file, and so how long
// its first writer waits for the others.
const maxBatch = 4 << 20

// request is one Apply on its way through the writer.
type request struct {
	ops    []store.Op
	values [][]byte // by op: the stored form, its version still blank
	size   int      // bytes of values
	state  atomic.Int32
	done   chan struct{} // closed by the writer; then the rest may be read

	versions []store.Version
	changed  []store.Key
	listings []store.Key // that have changed
	ids      local.ChangedIDs
	err      error
}

// The states of a request. Writer and caller compete to move it out of waiting.
const (
	waiting   int32 = iota
	taken           // the writer will answer
	withdrawn       // the caller gave up first; it has no effect
)

// Apply implements store.Backend. Whatever the disk does, it returns by the
// deadline: with ErrUnavailable if the operations were not begun, with
// ErrOutcomeUnknown if they were on their way to the disk.
func (b *Backend) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	if err := b.ready(ctx); err != nil {
		return nil, err
	}
	if err := store.CheckOps(ops); err != nil {
		return nil, err
	}
	if len(ops) == 0 {
		return []store.Version{}, nil
	}
	r := newRequest(ops)
	select {
	case b.requests <- r:
	case <-b.closing:
		return nil, b.unavailable(errClosed)
	case <-ctx.Done():
		return nil, b.unavailable(context.Cause(ctx))
	}
	select {
	case <-r.done:
		return r.versions, r.err
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(waiting, withdrawn) {
		return nil, b.unavailable(context.Cause(ctx))
	}
	select {
	case <-r.done: // both were ready, and this is the better answer
		return r.versions, r.err
	default:
		return nil, fmt.Errorf("%w: %s: %w", store.ErrOutcomeUnknown, b.path, context.Cause(ctx))
	}
}

// newRequest lays the values out as they are stored. ops stay as they are: a
// caller may pass them again.
func newRequest(ops []store.Op) *request {
	r := &request{
		ops:    append([]store.Op(nil), ops...),
		values: make([][]byte, len(ops)),
		done:   make(chan struct{}),
	}
	for i := range r.ops {
		if len(ops[i].Data) == 0 {
			continue
		}
		value := make([]byte, versionSize+len(ops[i].Data))
		copy(value[versionSize:], ops[i].Data)
		r.values[i], r.ops[i].Data = value, nil
		r.size += len(value)
	}
	return r
}

// writer is the goroutine through which all writes go.
type writer struct{ b *Backend }

// loop writes until Close.
func (w writer) loop() {
	defer close(w.b.written)
	debug.SetPanicOnFault(true) // of this goroutine alone
	for {
		select {
		case <-w.b.closing:
			return
		case first := <-w.b.requests:
			w.commit(w.gather(first))
		case c := <-w.b.compactions:
			c.err = c.run()
			close(c.done)
		}
	}
}

// gather takes the requests that already wait, without waiting for more: a single
// writer must not pay for others that do not come.
func (w writer) gather(first *request) []*request {
	batch, size := []*request{first}, first.size
	// Callers that were just answered may be about to send the next write.
	runtime.Gosched()
	for size < maxBatch {
		select {
		case r := <-w.b.requests:
			batch = append(batch, r)
			size += r.size
		default:
			return batch
		}
	}
	return batch
}

// commit does the batch in one transaction and answers every request in it.
func (w writer) commit(batch []*request) {
	live := batch[:0:0]
	for _, r := range batch {
		if r.state.CompareAndSwap(waiting, taken) {
			live = append(live, r)
		}
	}
	for _, r := range w.update(live) {
		w.b.listings.changed(r.listings)
		w.b.hub.Changed(r.changed...)
		w.b.hub.Report(r.ids.IDs()...)
	}
	for _, r := range live {
		close(r.done)
	}
}

// update does what it can of the batch and sets the answers. A request on
// which the file fails (as opposed to one that is refused) leaves the batch,
// and the rest is done without it. It returns those that took effect.
func (w writer) update(batch []*request) []*request {
	for len(batch) > 0 {
		culprit, err := w.attempt(batch)
		switch {
		case err == nil:
			return batch
		case culprit < 0:
			for _, r := range batch {
				// The refused ones too: the reason may have been another request
				// of the batch, which now has no effect.
				r.fail(err)
			}
			return nil
		}
		batch[culprit].fail(err)
		batch = append(batch[:culprit:culprit], batch[culprit+1:]...)
	}
	return nil
}

func (r *request) fail(err error) {
	r.versions, r.changed, r.listings, r.ids, r.err = nil, nil, nil, local.ChangedIDs{}, err
}

// attempt does the batch in one bbolt transaction. On failure it says which
// request was at fault, or -1 if it was none of them.
func (w writer) attempt(batch []*request) (culprit int, err error) {
	if broken := w.b.broken.Load(); broken != nil {
		return -1, *broken
	}
	culprit, id, began := -1, 0, false
	err = w.guardedUpdate(func(tx *bbolt.Tx) error {
		id, began = tx.ID(), true
		if err := w.b.current.Load().inPlace(tx); err != nil {
			return err
		}
		records, changes := tx.Bucket(recordsBucket), 0
		for i, r := range batch {
			if err := w.do(records, r); err != nil {
				culprit = i
				return err
			}
			changes += len(r.changed)
		}
		if changes == 0 {
			return errNothing
		}
		w.b.snapshots.note(batch)
		return nil
	})
	w.b.snapshots.settled()
	switch {
	case errors.Is(err, errNothing):
		return -1, nil
	case err == nil:
		w.b.health.Note(nil)
		return -1, nil
	case culprit >= 0, errors.Is(err, store.ErrUnavailable):
		return culprit, err
	case !began:
		return -1, w.b.unavailable(err)
	}
	err = w.afterFailedCommit(id, err)
	w.b.health.Note(err)
	return -1, err
}

// errNothing rolls back a transaction that has changed nothing, which is
// cheaper than committing it.
var errNothing = errors.New("nothing to commit")

// guardedUpdate is bbolt's Update, with a panic (a damaged page, most likely)
// turned into an error. bbolt may then still hold its lock for writers.
func (w writer) guardedUpdate(fn func(*bbolt.Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damage(w.b.path, p)
			w.b.breakDown(err)
		}
	}()
	return w.b.current.Load().db.Update(fn)
}

// afterFailedCommit finds out whether the transaction that failed to commit
// took effect: bbolt writes the data first, and then the meta page that makes
// it count. If the meta page of that transaction is not there, the disk was
// full or failed before, and nothing has changed. If it is there, nothing says what
// a power cut would leave, so the file is not touched again.
func (w writer) afterFailedCommit(id int, cause error) error {
	unknown := fmt.Errorf("%w: %s: %w", store.ErrOutcomeUnknown, w.b.path, cause)
	tx, err := w.b.begin()
	if err != nil {
		w.b.breakDown(cause)
		return unknown
	}
	seen := tx.tx.ID()
	tx.end(&err)
	if err != nil || seen >= id {
		w.b.breakDown(cause)
		return unknown
	}
	return w.b.refused(cause)
}

// do checks and then does the operations of r, or none of them. A refusal is
// set in r; an error is of the file.
func (w writer) do(records *bbolt.Bucket, r *request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damage(w.b.path, p)
		}
	}()
	r.versions, r.changed, r.listings, r.ids, r.err = make([]store.Version, len(r.ops)), nil, nil, local.ChangedIDs{}, nil
	j := checker{records: records, ops: r.ops}
	writes := make([]bool, len(r.ops))
	for i := range r.ops {
		verdict, err := j.op(i)
		if err != nil {
			return fmt.Errorf("%s: record %s: %w", w.b.path, r.ops[i].Key, err)
		}
		if verdict.refusal != nil {
			r.fail(&store.OpError{Index: i, Key: r.ops[i].Key, Err: verdict.refusal})
			return nil
		}
		r.versions[i], writes[i] = verdict.version, verdict.writes
	}
	for i, op := range r.ops {
		if !writes[i] {
			continue
		}
		r.changed = append(r.changed, op.Key)
		r.ids.Add(op)
		if r.versions[i], err = put(records, op, r.values[i]); err != nil {
			return fmt.Errorf("%s: record %s: %w", w.b.path, op.Key, err)
		}
	}
	for i, op := range r.ops {
		if writes[i] && op.Kind != store.OpSet { // a Set changes no names
			r.listings = appendListings(r.listings, records, op.Key)
		}
	}
	return nil
}

// put does one operation that was found to be in order. It fills in the
// version of value.
func put(records *bbolt.Bucket, op store.Op, value []byte) (store.Version, error) {
	if op.Kind == store.OpDelete {
		return 0, records.Delete([]byte(op.Key))
	}
	version, err := records.NextSequence()
	if err != nil {
		return 0, err
	}
	binary.BigEndian.PutUint64(value, version)
	return store.Version(version), records.Put([]byte(op.Key), value)
}
