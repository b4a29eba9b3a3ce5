// Package bolt keeps records in one bbolt file: the storage `bolt:PATH` of a
// single server. It holds opaque bytes, never plaintext or keys.
//
// The file has two buckets. "secretstore" holds the format under "format".
// "records" holds every record under its whole key, with no nesting: eight
// bytes of version, big endian, then the data. Versions come from the sequence
// of "records", which only grows, so a version never names two states, not
// even across a deletion.
//
// All writes go through one goroutine, which puts into one bbolt transaction
// everything that arrived while the last one was on its way to the disk: each
// costs two fdatasync, whatever its size.
//
// bbolt leaves deleted data in free pages. Compact rewrites the file without it.
//
// A damaged page is an error of the calls that meet it. The exception is a page
// that leads back to itself, which bbolt would follow until the process ends:
// Open refuses such a file. For that it reads the head of each page in use.
package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"secretstore/store"
	"secretstore/store/internal/local"
	"secretstore/store/internal/writes"
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

// Backend is a store.Backend on one bbolt file. Make it with Open. Most of its
// methods are those of the interfaces in package store.
type Backend struct {
	path     string // absolute
	warnings []string
	hub      *local.Hub
	listings *listings
	health   writes.Health

	snapshots snapshots

	// current is the file in use. Only the writer replaces it, in
	// Compact, with the edges of the old one and takeover held.
	current atomic.Pointer[handle]

	requests    chan *request    // to the writer; never closed
	compactions chan *compaction // to the writer; never closed
	closing     chan struct{}    // closed by Close
	written     chan struct{}    // closed by the writer when it ends
	close       sync.Once
	closeErr    error // written within close

	// broken is set when bbolt can no longer be called, because it stopped in
	// the middle of an operation with its locks held, or because the content of
	// the disk is not known. Only a new Open, which reads the disk, helps.
	broken atomic.Pointer[error]
	fallen chan struct{} // closed once broken is set

	// takeover is held while Compact replaces the old file by the new one, from
	// its last check of broken on, and by abandon: once the lock is given up, the
	// file may belong to another process and must not be replaced. The rename under
	// it is I/O that only Close waits for.
	takeover sync.Mutex
}

var (
	_ store.Backend   = (*Backend)(nil)
	_ store.Exclusive = (*Backend)(nil)
	_ store.Compacter = (*Backend)(nil)

	_ store.WriteReporter = (*Backend)(nil)
	_ store.Snapshotter   = (*Backend)(nil)
)

// Exclusive implements store.Exclusive: the file is locked while it is in use.
func (b *Backend) Exclusive() bool { return true }

// Warnings returns what Open has repaired and an operator should know, for example
// that others could read or write the file.
func (b *Backend) Warnings() []string { return slices.Clone(b.warnings) }

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
	// The mapping below data ends with the transaction.
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
	return tx.h.inPlace(tx.tx)
}

// WriteFault implements store.WriteReporter.
func (b *Backend) WriteFault() error { return b.health.Fault() }

// Watch implements store.Backend. No other process can change the file, so
// only changes made through this Backend are reported.
func (b *Backend) Watch(ctx context.Context, keys []store.Key, notify func()) {
	b.hub.Watch(ctx, keys, notify)
}

// Changes implements store.Backend.
func (b *Backend) Changes(ctx context.Context, notify func(store.Changes)) {
	b.hub.Subscribe(ctx, notify)
}

// Close implements store.Backend. It waits for the transaction under way, and
// for the reads.
func (b *Backend) Close() error {
	b.close.Do(func() {
		h := b.lockEdges()
		close(b.closing)
		h.edges.Unlock()
		b.hub.Close()
		select {
		case <-b.written:
		case <-b.fallen: // then the writer may wait forever
		}
		if b.broken.Load() != nil {
			b.closeErr = b.abandon()
			return
		}
		b.closeErr = b.current.Load().db.Close() // waits for the reads
	})
	return b.closeErr
}

// abandon gives the file back without bbolt. The mapping stays until the
// process ends.
func (b *Backend) abandon() error {
	b.takeover.Lock()
	defer b.takeover.Unlock()
	return b.current.Load().abandon()
}

// ready refuses before any work is begun.
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
func (b *Backend) unavailable(err error) error { return unavailable(b.path, err) }

// refused is for a write that the disk did not take, and that had no effect.
func (b *Backend) refused(err error) error {
	kind := store.ErrNoWrites
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		// bbolt passes on only the text of a failure to extend the file.
		if errors.Is(err, full) || strings.HasSuffix(err.Error(), full.Error()) {
			kind = store.ErrFull
		}
	}
	return fmt.Errorf("%w: %s: %w", kind, b.path, err)
}

func unavailable(path string, err error) error {
	return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, path, err)
}

// breakDown records that bbolt must no longer be called, and why.
func (b *Backend) breakDown(reason error) {
	err := fmt.Errorf("%w: %s: restart the server after looking at the disk: %w", store.ErrUnavailable, b.path, reason)
	if b.broken.CompareAndSwap(nil, &err) {
		close(b.fallen)
	}
	b.listings.changedAll() // nothing that was listed is certain
}

// split parses the stored form of a record. Data lies within value.
func split(value []byte) (data []byte, v store.Version, err error) {
	if len(value) <= versionSize || len(value) > versionSize+store.MaxData {
		return nil, 0, fmt.Errorf("%w: %w: %d bytes", ErrDamaged, store.ErrUnusable, len(value))
	}
	version := binary.BigEndian.Uint64(value)
	if version == 0 || version > 1<<63-1 {
		return nil, 0, fmt.Errorf("%w: %w: version", ErrDamaged, store.ErrUnusable)
	}
	return value[versionSize:], store.Version(version), nil
}

// damage describes a panic of bbolt. Its text names pages and addresses only.
func damage(path string, panicked any) error {
	return fmt.Errorf("%s: %w: %v", path, ErrDamaged, panicked)
}
