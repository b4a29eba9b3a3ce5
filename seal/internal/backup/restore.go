package backup

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
	"time"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/store"
)

// The reasons to restore nothing into a storage.
var (
	// ErrNotEmpty: it has records already.
	ErrNotEmpty = errors.New("the storage is not empty")
	// ErrUnfinished: they are those of a restore or a move, and another one. It also
	// matches ErrNotEmpty.
	ErrUnfinished = fmt.Errorf("%w: the restore of another backup, or with other options, or a move, was interrupted in it", ErrNotEmpty)
)

// atOnce are the records that make a storage a store, and are written last, in one
// transaction: until then no server takes it for one, or for empty.
var atOnce = []store.Key{
	barrier.KeyConfig, barrier.KeyRoot, barrier.KeyKeyring, barrier.KeyIntent, barrier.KeyIdentity, barrier.KeyMode, barrier.KeyBootstrap,
}

const (
	// restoreTime bounds one call of the storage.
	restoreTime = 30 * time.Second
	// patience is how long a write is repeated while the storage, an overloaded
	// ZooKeeper for example, does not answer in time. The pauses grow.
	patience   = 5 * time.Minute
	firstPause = time.Second
	lastPause  = 15 * time.Second
)

// RestoreOptions say what is restored of a backup. The zero value is everything.
type RestoreOptions struct {
	// WithoutIAM leaves out the records of the IAM.
	WithoutIAM bool
	// BootstrapKeyFile is where the bootstrap private key is kept; "" is the storage
	// itself. It is written if the backup has that key.
	BootstrapKeyFile string
	// Progress is called with how many records have been written. Nil is nothing.
	Progress func(records int)
	// Waiting is called before a write is repeated, with the reason. Nil is nothing.
	Waiting func(error)
}

// Restore writes a backup into empty storage, in which the store is then sealed. A
// restore that was interrupted is continued by another one of the same backup with
// the same options. A write whose outcome is unknown is repeated. It needs no key: the
// first unseal shows whether a server of the store has made the backup, and begins a
// new incarnation. ErrNotEmpty, ErrDamaged, store.ErrUnavailable.
func (b *Backup) Restore(ctx context.Context, to store.Backend, o RestoreOptions) error {
	// The marker names the backup, so that only the same one is continued, and
	// keeps servers from taking the storage for empty.
	r := &restore{ctx: ctx, to: to, progress: o.Progress, waiting: o.Waiting}
	if err := r.mark(b.begun(o)); err != nil {
		return err
	}
	record := b.restored()
	record.WithoutIAM = o.WithoutIAM
	last := []store.Op{store.Create(barrier.KeyRestored, record.Encode())}
	var private []byte
	defer func() { clear(private) }()
	err := b.Each(func(key store.Key, data []byte) error {
		switch {
		case key == barrier.KeyIntent: // without one the store is sealed
			return nil
		case o.WithoutIAM && covers(key, barrier.KeyIAM):
			return nil
		case key == barrier.KeyBootstrap && o.BootstrapKeyFile != "":
			private = bytes.Clone(data)
			return nil
		case covers(key, atOnce...):
			last = append(last, store.Create(key, bytes.Clone(data)))
			return nil
		}
		return r.add(store.Create(key, bytes.Clone(data)))
	})
	if err == nil {
		err = r.flush()
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(last, func(op store.Op) bool { return op.Key == barrier.KeyConfig }) {
		return damaged("it has no record of the holders")
	}
	if private != nil {
		if err := bootstrapkey.WriteFile(o.BootstrapKeyFile, private); err != nil {
			return err
		}
	}
	return r.end(last)
}

// covers reports whether key is one of keys, or below one.
func covers(key store.Key, keys ...store.Key) bool { return (&store.Snapshot{Below: keys}).Covers(key) }

// begun is the marker of a restore: the hash of the backup, and the options that make
// another store of it.
func (b *Backup) begun(o RestoreOptions) []byte {
	if o.WithoutIAM {
		return append(bytes.Clone(b.sum), "without iam"...)
	}
	return b.sum
}

// abandoned is the marker of a restore or a move that no one continues.
const abandoned = "abandoned"

// Abandon reports whether a storage has only what an unfinished restore or move has
// written. No one can then continue it: if it still runs, its next write fails. Its
// marker stays, and keeps servers from taking the storage for empty while the caller
// removes the rest; the next restore replaces it.
func Abandon(ctx context.Context, b store.Backend) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, restoreTime)
	defer cancel()
	for _, key := range atOnce {
		if _, err := b.Get(ctx, key, store.Latest); !errors.Is(err, store.ErrNotFound) {
			return false, err // nil: it is a store
		}
	}
	marker, err := b.Get(ctx, barrier.KeyRestoring, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		_, err = b.Apply(ctx, store.Set(barrier.KeyRestoring, []byte(abandoned), marker.Version))
	}
	return err == nil, err
}

// mark makes the marker, or finds that of the same backup.
func (r *restore) mark(sum []byte) error {
	return r.patiently(func(ctx context.Context) (err error) {
		r.marker, err = mark(ctx, r.to, sum)
		return err
	})
}

func mark(ctx context.Context, to store.Backend, sum []byte) (store.Version, error) {
	op := store.Create(barrier.KeyRestoring, sum)
	var except []store.Key
	node, err := to.Get(ctx, barrier.KeyRestoring, store.Latest)
	switch {
	case err == nil && hmac.Equal(node.Data, sum):
		return node.Version, nil
	case err == nil && string(node.Data) == abandoned:
		op, except = store.Set(barrier.KeyRestoring, sum, node.Version), []store.Key{barrier.KeyRestoring}
	case err == nil:
		return 0, ErrUnfinished
	case !errors.Is(err, store.ErrNotFound):
		return 0, err
	}
	reader, ok := to.(store.Snapshotter)
	if !ok {
		return 0, errUnsuitable
	}
	err = reader.Snapshot(ctx, store.Snapshot{Below: []store.Key{"stores", "keys"}, Except: except}, func(key store.Key, data []byte) error {
		if len(data) == 0 { // it is gone
			return nil
		}
		return fmt.Errorf("%w: it has the record %s", ErrNotEmpty, key)
	})
	if err != nil {
		return 0, err
	}
	versions, err := to.Apply(ctx, op)
	if err != nil {
		return 0, err
	}
	return versions[0], nil
}

// restore collects operations for transactions.
type restore struct {
	ctx      context.Context
	to       store.Backend
	marker   store.Version // of the marker, which each transaction checks
	progress func(int)
	waiting  func(error)
	ops      []store.Op
	size     int
	written  int
}

// A transaction is far below what ZooKeeper takes, path and ACL of each record
// included.
const (
	maxOps  = 200
	maxSize = store.MaxTransaction / 2
)

func (r *restore) add(op store.Op) error {
	if len(r.ops) == maxOps || len(r.ops) > 0 && r.size+len(op.Data) > maxSize {
		if err := r.flush(); err != nil {
			return err
		}
	}
	r.ops, r.size = append(r.ops, op), r.size+len(op.Data)
	return nil
}

// flush writes what was collected. What is there already was written before an
// interruption.
func (r *restore) flush() error {
	if len(r.ops) == 0 {
		return nil
	}
	ops := r.ops
	r.ops, r.size = nil, 0
	err := r.apply(ops...)
	for ; errors.Is(err, store.ErrExists) && len(ops) > 0; err = r.apply(ops...) {
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Index >= len(ops) {
			return err
		}
		ops = slices.Concat(ops[:refused.Index], ops[refused.Index+1:]) // the storage may still have the old ones
	}
	if err != nil {
		return err
	}
	r.written += len(ops)
	if r.progress != nil {
		r.progress(r.written)
	}
	return nil
}

func (r *restore) apply(ops ...store.Op) error {
	if len(ops) == 0 {
		return nil
	}
	ops = append(slices.Clip(ops), store.Check(barrier.KeyRestoring, r.marker))
	return overtaken(ops, r.patiently(func(ctx context.Context) error {
		_, err := r.to.Apply(ctx, ops...)
		return err
	}))
}

// errOvertaken: the marker is gone, or another one.
var errOvertaken = errors.New("another restore or move into this storage has started over, or has ended: this one has stopped")

// overtaken returns errOvertaken if it was the marker that a transaction failed for.
func overtaken(ops []store.Op, err error) error {
	var refused *store.OpError
	if errors.As(err, &refused) && refused.Index < len(ops) && ops[refused.Index].Key == barrier.KeyRestoring {
		return errOvertaken
	}
	return err
}

// end writes the last records and removes the marker, in one transaction. So if the
// marker is gone after a write whose outcome is unknown, that was written.
func (r *restore) end(ops []store.Op) error {
	ops = append(ops, store.Delete(barrier.KeyRestoring, r.marker))
	unsure := false
	return overtaken(ops, r.patiently(func(ctx context.Context) error {
		_, err := r.to.Apply(ctx, ops...)
		var refused *store.OpError
		if unsure && errors.As(err, &refused) {
			switch _, marker := r.to.Get(ctx, barrier.KeyRestoring, store.Latest); {
			case errors.Is(marker, store.ErrNotFound):
				return nil
			case marker != nil:
				return marker
			}
		}
		unsure = unsure || errors.Is(err, store.ErrOutcomeUnknown)
		return err
	}))
}

// patiently repeats a write while the storage does not answer, or does not say what
// became of it.
func (r *restore) patiently(write func(context.Context) error) error {
	began := time.Now()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(r.ctx, restoreTime)
		err := write(ctx)
		cancel()
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFull) || time.Since(began) > patience || r.ctx.Err() != nil {
			return err
		}
		if r.waiting != nil {
			r.waiting(err)
		}
		select {
		case <-time.After(pause):
		case <-r.ctx.Done():
			return err
		}
	}
}
