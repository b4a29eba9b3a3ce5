// Package bolt keeps records in one bbolt file: the storage `bolt:PATH` of a
// server that stands alone. It holds opaque bytes, never plaintext or keys.
//
// The file has two buckets. "secretstore" holds the format under "format".
// "records" holds every record under its whole key, with no nesting: eight
// bytes of version, big endian, then the data. Versions come from the sequence
// of "records", which only grows, so a version never names two states, not
// even across a deletion.
//
// All writes go through one goroutine, which puts into one bbolt transaction
// whatever has arrived while the last one was on its way to the disk: each
// costs two fdatasync, whatever it holds.
//
// A damaged page is an error of the calls that meet it. One kind of damage
// still ends the process: a tree of pages that leads back into itself. No disk
// makes that by accident, and who makes it on purpose could as well delete the
// file.
package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
	"secretstore/store/internal/local"
)

// The errors of this package, besides those of package store. All name the file.
var (
	// ErrInUse: another process (or this one) has the file open.
	ErrInUse = errors.New("in use")
	// ErrForeign: a bbolt file, but not one of this program, or one that a
	// newer version of it has written.
	ErrForeign = errors.New("not a Secret Store file of a known format")
	// ErrDamaged: not a bbolt file at all, cut short, or with pages or records
	// that make no sense.
	ErrDamaged = errors.New("not a bbolt file, or damaged")
)

const versionSize = 8 // bytes before the data of each record

// Backend is a store.Backend on one bbolt file. Make it with Open.
type Backend struct {
	path     string // absolute
	db       *bbolt.DB
	file     *os.File    // the one that db has open; db closes it
	identity os.FileInfo // of file, for os.SameFile
	warnings []string
	hub      *local.Hub

	requests chan *request // to the writer; never closed
	closing  chan struct{} // closed by Close
	written  chan struct{} // closed by the writer when it ends
	close    sync.Once
	closeErr error // written within close

	// broken is set when bbolt can no longer be called, because it stopped in
	// the middle of something with its locks held, or because it is not known
	// what the disk holds. Only a new Open, which reads the disk, helps.
	broken atomic.Pointer[error]
	fallen chan struct{} // closed once broken is set

	// edges is held while a read begins, and by one that ends if it is free,
	// because bbolt then takes locks of its own: a fault at the beginning
	// leaves them taken for ever, and nobody must wait for them then.
	// Otherwise the end is left to a goroutine. It must not wait for edges: a
	// read that begins may wait (for the file to be mapped anew) until the
	// others have ended. closing is closed under edges: no read begins, and
	// none can leave locks behind, after that.
	edges sync.Mutex
}

var _ store.Backend = (*Backend)(nil)

// Warnings returns what Open has mended and an operator should know: that
// others could read or write the file.
func (b *Backend) Warnings() []string { return append([]string(nil), b.warnings...) }

// Get implements store.Backend. The answer is never stale.
func (b *Backend) Get(ctx context.Context, key store.Key, _ store.Consistency) (node store.Node, err error) {
	if err := b.ready(ctx); err != nil {
		return store.Node{}, err
	}
	if err := store.ValidKey(key); err != nil {
		return store.Node{}, err
	}
	tx, err := b.begin()
	if err != nil {
		return store.Node{}, err
	}
	defer tx.end(&err)
	value := tx.records().Get([]byte(key))
	if value == nil {
		return store.Node{}, store.ErrNotFound
	}
	data, version, err := split(value)
	if err != nil {
		return store.Node{}, fmt.Errorf("%s: record %s: %w", b.path, key, err)
	}
	// The mapping below data goes with the transaction.
	return store.Node{Data: append([]byte(nil), data...), Version: version}, nil
}

// Ping implements store.Backend: it asks whether the file is still there and
// can be read.
func (b *Backend) Ping(ctx context.Context) (err error) {
	if err := b.ready(ctx); err != nil {
		return err
	}
	tx, err := b.begin()
	if err != nil {
		return err
	}
	defer tx.end(&err)
	if tx.records() == nil {
		return fmt.Errorf("%s: %w", b.path, ErrDamaged)
	}
	return b.inPlace(tx.tx)
}

// Watch implements store.Backend. No other process can change the file, so
// only changes made through this Backend are told.
func (b *Backend) Watch(ctx context.Context, keys []store.Key, notify func()) {
	b.hub.Watch(ctx, keys, notify)
}

// Close implements store.Backend. It waits for the transaction under way, and
// for the reads.
func (b *Backend) Close() error {
	b.close.Do(func() {
		b.edges.Lock()
		close(b.closing)
		b.edges.Unlock()
		b.hub.Close()
		select {
		case <-b.written:
		case <-b.fallen: // then the writer may wait for ever
		}
		if b.broken.Load() != nil {
			b.closeErr = b.abandon()
			return
		}
		b.closeErr = b.db.Close() // waits for the reads
	})
	return b.closeErr
}

// abandon gives the file back without bbolt. The mapping stays until the
// process ends.
func (b *Backend) abandon() error {
	return errors.Join(unlock(b.file), b.file.Close())
}

// ready refuses before anything is begun.
func (b *Backend) ready(ctx context.Context) error {
	if err := b.up(); err != nil {
		return err
	}
	return local.Expired(ctx)
}

// up refuses when the backend is closed or broken.
func (b *Backend) up() error {
	select {
	case <-b.closing:
		return b.unavailable(errClosed)
	default:
	}
	if broken := b.broken.Load(); broken != nil {
		return *broken
	}
	return nil
}

var errClosed = errors.New("closed")

// unavailable is for failures that are known to have had no effect.
func (b *Backend) unavailable(err error) error {
	return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, b.path, err)
}

// breakDown records that bbolt must not be called any more, and why.
func (b *Backend) breakDown(reason error) {
	err := fmt.Errorf("%w: %s: restart the server after looking at the disk: %w", store.ErrUnavailable, b.path, reason)
	if b.broken.CompareAndSwap(nil, &err) {
		close(b.fallen)
	}
}

// inPlace refuses when the file is no longer the one under its name, or was
// cut short: what is written then would go with the process, or on top of
// somebody else's restore.
func (b *Backend) inPlace(tx *bbolt.Tx) error {
	info, err := os.Stat(b.path)
	switch {
	case err != nil:
		return b.unavailable(err)
	case !os.SameFile(info, b.identity):
		return b.unavailable(errors.New("the file was replaced while in use; restart the server"))
	case info.Size() < tx.Size():
		return b.unavailable(errors.New("the file was cut short while in use; restart the server"))
	}
	return nil
}

// split parses the stored form of a record. Data lies within value.
func split(value []byte) (data []byte, v store.Version, err error) {
	if len(value) <= versionSize || len(value) > versionSize+store.MaxData {
		return nil, 0, fmt.Errorf("%w: %d bytes", ErrDamaged, len(value))
	}
	version := binary.BigEndian.Uint64(value)
	if version == 0 || version > 1<<63-1 {
		return nil, 0, fmt.Errorf("%w: version", ErrDamaged)
	}
	return value[versionSize:], store.Version(version), nil
}

// readTx is a read transaction in which a fault (a damaged page, a file cut
// short under its mapping) becomes an error of this one call.
type readTx struct {
	b     *Backend
	tx    *bbolt.Tx
	fault bool // what debug.SetPanicOnFault was
}

// begin opens a read transaction. The caller defers its end.
func (b *Backend) begin() (r readTx, err error) {
	r = readTx{b: b, fault: debug.SetPanicOnFault(true)}
	b.edges.Lock()
	defer b.edges.Unlock()
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
	r.tx, err = b.db.Begin(false)
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
	if !r.b.edges.TryLock() {
		go r.rollback()
		return
	}
	defer r.b.edges.Unlock()
	r.rollback()
}

// rollback is what ends a read transaction. It fails only on one that has
// ended already.
func (r readTx) rollback() {
	if r.b.broken.Load() == nil {
		_ = r.tx.Rollback()
	}
}

// damage describes a panic of bbolt. Its text names pages and addresses only.
func damage(path string, panicked any) error {
	return fmt.Errorf("%s: %w: %v", path, ErrDamaged, panicked)
}
