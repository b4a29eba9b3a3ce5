package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
	"secretstore/store/internal/local"
)

// unfinished is what the name of the new file ends in until it takes the place
// of the old one.
const unfinished = ".compact-unfinished"

// Compact rewrites the file into a new one, which takes its place and contains
// nothing that was overwritten or deleted; the free pages of the old one did.
// Records, versions and watches stay as they are. Compact needs disk space for a
// second copy of the data in use, and the right to write to the folder. Modes other
// than 0600 and hard links are not preserved. If the path is a symbolic link, its
// target is replaced.
//
// Reads continue meanwhile. Writes wait, each until its own deadline. At every
// moment, also in a crash, either the old file or the new one is complete under the
// name, and locked by this process while it lives. An error means that the old file
// is still in use, except for ErrOutcomeUnknown: the deadline came, or the disk
// failed, after the new one had taken its place.
//
// Compact does not erase securely. The blocks of the old file go back to the file
// system, which overwrites them at some later time: until then they can be read
// from the raw disk, as from snapshots, other hard links and backups.
func (b *Backend) Compact(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	c := &compaction{b: b, ctx: ctx, done: make(chan struct{})}
	select {
	case b.compactions <- c:
	case <-b.closing:
		return b.unavailable(errClosed)
	case <-ctx.Done():
		return b.unavailable(context.Cause(ctx))
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	if c.state.CompareAndSwap(waiting, withdrawn) {
		return b.unavailable(context.Cause(ctx))
	}
	select {
	case <-c.done: // both were ready, and this is the better answer
		return c.err
	default:
		return fmt.Errorf("%w: %s: %w", store.ErrOutcomeUnknown, b.path, context.Cause(ctx))
	}
}

// compaction is one Compact on its way through the writer, so that no write
// comes between the copy and the change of files.
type compaction struct {
	b     *Backend
	ctx   context.Context // of the caller, who may give up while the copy is made
	state atomic.Int32    // as of a request: taken once the new file takes over
	done  chan struct{}   // closed by the writer; then err may be read
	err   error
}

// run is Compact in the writer.
func (c *compaction) run() error {
	target, err := filepath.EvalSymlinks(c.b.path)
	if err != nil {
		return c.b.unavailable(err)
	}
	// If the folder cannot be opened, find out before the change, not after.
	folder, err := os.Open(filepath.Dir(target))
	if err != nil {
		return c.b.unavailable(err)
	}
	defer folder.Close()
	fresh, err := c.rewrite(target + unfinished)
	if err != nil {
		return err
	}
	old := c.b.current.Load()
	if err := c.takeOver(fresh, target); err != nil {
		return errors.Join(err, fresh.shut(), discard(target+unfinished))
	}
	if err := folder.Sync(); err != nil {
		// A power cut may bring the old file back, without what is written now.
		c.b.breakDown(err)
		return errors.Join(fmt.Errorf("%w: %s: %w", store.ErrOutcomeUnknown, c.b.path, err), old.abandon())
	}
	// Waits for the reads that began on it. Only then are its blocks free.
	if err := old.shut(); err != nil {
		return fmt.Errorf("%w: %s: give up the old file: %w", store.ErrOutcomeUnknown, c.b.path, err)
	}
	return nil
}

// rewrite makes the new file, complete, on the disk and locked.
func (c *compaction) rewrite(name string) (*handle, error) {
	if err := discard(name); err != nil {
		return nil, c.b.unavailable(err)
	}
	fresh := &handle{path: c.b.path}
	err := fresh.open(name, os.O_EXCL, lockWait, func() error {
		if err := sameOwner(fresh.file, c.b.current.Load().identity); err != nil {
			return err
		}
		fresh.db.NoSync = true // until it is complete
		if err := c.fill(fresh); err != nil {
			if fresh.stuck { // its mapping stays, and would keep the blocks
				err = errors.Join(err, fresh.file.Truncate(0))
			}
			return err
		}
		fresh.db.NoSync = false
		return fresh.file.Sync()
	})
	if err == nil {
		return fresh, nil
	}
	if fresh.file != nil { // else the file is another's
		err = errors.Join(err, discard(name))
	}
	if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, ErrDamaged) {
		err = c.b.unavailable(err)
	}
	return nil, err
}

// fill copies everything that is in use to the new file and compares it.
func (c *compaction) fill(fresh *handle) (err error) {
	tx, err := c.b.begin()
	if err != nil {
		return err
	}
	defer tx.end(&err)
	if err := tx.h.inPlace(tx.tx); err != nil {
		return err
	}
	fresh.stuck = true // unless this returns: a fault may end a commit of the new file
	for _, step := range []func(name []byte, from *bbolt.Bucket) error{
		func(name []byte, from *bbolt.Bucket) error { return c.copyBucket(fresh, name, from) },
		func(name []byte, from *bbolt.Bucket) error { return c.compareBucket(fresh, name, from) },
	} {
		if err := tx.tx.ForEach(step); err != nil {
			fresh.stuck = false
			return err
		}
	}
	fresh.stuck = false
	return nil
}

// copyBucket copies one bucket, in transactions of bounded size.
func (c *compaction) copyBucket(fresh *handle, name []byte, from *bbolt.Bucket) error {
	cursor := from.Cursor()
	key, value := cursor.First()
	for begun := false; !begun || key != nil; begun = true {
		if err := c.wanted(); err != nil {
			return err
		}
		err := fresh.db.Update(func(tx *bbolt.Tx) error {
			to, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return err
			}
			// No version may be used twice, not even that of a deleted record.
			if err := to.SetSequence(from.Sequence()); err != nil {
				return err
			}
			to.FillPercent = 1 // the keys are in order
			for size := 0; key != nil && size < maxBatch; key, value = cursor.Next() {
				if value == nil {
					return fmt.Errorf("%s: %w: bucket in a bucket", c.b.path, ErrDamaged)
				}
				if err := to.Put(key, value); err != nil {
					return err
				}
				size += len(key) + len(value)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compareBucket reads the copy of a bucket back: the old file is about to be
// replaced by it, so do not trust the library.
func (c *compaction) compareBucket(fresh *handle, name []byte, from *bbolt.Bucket) error {
	return fresh.db.View(func(tx *bbolt.Tx) error {
		differs := fmt.Errorf("%s: the copy differs from the file", c.b.path)
		to := tx.Bucket(name)
		if to == nil || to.Sequence() != from.Sequence() {
			return differs
		}
		is, have := from.Cursor(), to.Cursor()
		key, value := is.First()
		k, v := have.First()
		for n := 0; key != nil || k != nil; n++ {
			if !bytes.Equal(key, k) || !bytes.Equal(value, v) {
				return differs
			}
			if n%checkEvery == 0 {
				if err := c.wanted(); err != nil {
					return err
				}
			}
			key, value = is.Next()
			k, v = have.Next()
		}
		return nil
	})
}

// wanted refuses once the caller has left, or the file is broken.
func (c *compaction) wanted() error {
	if err := c.b.up(); err != nil {
		return err
	}
	return local.Expired(c.ctx)
}

// takeOver replaces the old file by the new one, in the file system and here. After
// an error nothing has changed.
func (c *compaction) takeOver(fresh *handle, target string) error {
	c.b.takeover.Lock()
	defer c.b.takeover.Unlock()
	if err := c.wanted(); err != nil {
		return err
	}
	old := c.b.current.Load()
	if !old.isAt(target) || !fresh.isAt(target+unfinished) {
		return c.b.unavailable(errors.New("the file was replaced while in use; restart the server"))
	}
	if !c.state.CompareAndSwap(waiting, taken) {
		return c.b.unavailable(context.Cause(c.ctx))
	}
	old.successor.Store(fresh) // what a Ping may meet from now on
	err := os.Rename(target+unfinished, target)
	if err != nil && !fresh.isAt(target) {
		old.successor.Store(nil)
		return c.b.unavailable(err)
	}
	old.edges.Lock()
	defer old.edges.Unlock()
	c.b.current.Store(fresh)
	return nil
}

// sweep removes the file that an interrupted Compact left behind, which contains
// records as they were then. No other process can be writing it, because the file
// itself is locked.
func (b *Backend) sweep() {
	target, err := filepath.EvalSymlinks(b.path)
	if err != nil {
		return // then the name is unknown
	}
	name := target + unfinished
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return
	}
	warning := "left by an interrupted rewrite, removed"
	if err := discard(name); err != nil {
		warning = fmt.Sprintf("left by an interrupted rewrite, remove it: %v", err)
	}
	b.warnings = append(b.warnings, name+": "+warning)
}

// discard removes an unfinished file, if there is one.
func discard(name string) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: not a regular file", name)
	}
	return os.Remove(name)
}
