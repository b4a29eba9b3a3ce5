package offline

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path"

	"secretstore/store"
)

// Count returns the number of secrets, without deleted ones. It needs no key.
func Count(ctx context.Context, b store.Backend) (int, error) { return count(ctx, b, keySecrets, 3) }

// CountOthers returns the number of deleted secrets, and of records of users, groups and
// grants. It needs no key.
func CountOthers(ctx context.Context, b store.Backend) (deleted, identities int, err error) {
	if deleted, err = count(ctx, b, keyDeleted, 3); err != nil {
		return 0, 0, err
	}
	identities, err = count(ctx, b, keyIAM, 2)
	return deleted, identities, err
}

// count returns the number of records so many levels below a key.
func count(ctx context.Context, b store.Backend, key store.Key, depth int) (n int, err error) {
	names, err := children(ctx, b, key)
	if err != nil || depth == 1 {
		return len(names), err
	}
	for _, name := range names {
		below, err := count(ctx, b, path.Join(key, name), depth-1)
		if err != nil {
			return 0, err
		}
		n += below
	}
	return n, nil
}

// Freeze records the intent to seal the store, as an operator would. Each write of a
// server checks the intent, so a server that is still running writes nothing from now
// on. Without a store, Freeze does nothing.
func Freeze(ctx context.Context, b store.Backend) error {
	node, err := get(ctx, b, keyIntent)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var id [16]byte
	rand.Read(id[:])
	intent := fmt.Sprintf(`{"format":1,"sealed":true,"seal":"%s"}`, hex.EncodeToString(id[:]))
	if _, err := apply(ctx, b, store.Set(keyIntent, []byte(intent), node.Version)); err != nil {
		return fmt.Errorf("seal the store: %w", err)
	}
	return nil
}

// Wipe removes every record of a store: first all secrets, also deleted ones, then, in
// one transaction, the records of the keys. After an interruption it can be called again:
// while there are secrets, there are the keys that open them. What is not of the store
// stays: ROOT may be that of others too. removed is called with the number of records so
// far.
func Wipe(ctx context.Context, b store.Backend, removed func(n int)) error {
	return (&wiper{b: b, removed: removed}).all(ctx)
}

// WipeUnfinished removes what an abandoned restore has written, all but its marker.
func WipeUnfinished(ctx context.Context, b store.Backend, removed func(n int)) error {
	return (&wiper{b: b, removed: removed, keep: keyRestoring}).all(ctx)
}

func (w *wiper) all(ctx context.Context) error {
	for _, key := range []store.Key{keySecrets, keyDeleted, keyMarks, keyBlobs, keyIAM} {
		if err := w.below(ctx, key); err != nil {
			return err
		}
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	var rest []store.Op
	for _, key := range []store.Key{"stores", "keys"} {
		if err := w.collect(ctx, key, &rest); err != nil {
			return err
		}
	}
	if len(rest) == 0 {
		return nil
	}
	if _, err := apply(ctx, w.b, rest...); err != nil {
		return fmt.Errorf("remove the records of the keys: %w", err)
	}
	w.count(len(rest))
	return nil
}

// wiper removes records in transactions of up to maxOps.
type wiper struct {
	b       store.Backend
	ops     []store.Op
	n       int
	keep    store.Key // stays
	removed func(n int)
}

const maxOps = 64

// below removes everything below a key, leaves first.
func (w *wiper) below(ctx context.Context, key store.Key) error {
	names, err := children(ctx, w.b, key)
	if err != nil {
		return err
	}
	for _, name := range names {
		child := path.Join(key, name)
		if err := w.below(ctx, child); err != nil {
			return err
		}
		if err := w.remove(ctx, child); err != nil {
			return err
		}
	}
	return nil
}

// remove removes one record whose children are removed already, or in the same
// transaction.
func (w *wiper) remove(ctx context.Context, key store.Key) error {
	node, err := get(ctx, w.b, key)
	if errors.Is(err, store.ErrNotFound) {
		return w.removeBare(ctx, key)
	}
	if err != nil {
		return err
	}
	if w.ops = append(w.ops, store.Delete(key, node.Version)); len(w.ops) < maxOps {
		return nil
	}
	return w.flush(ctx)
}

func (w *wiper) flush(ctx context.Context) error {
	if len(w.ops) == 0 {
		return nil
	}
	if _, err := apply(ctx, w.b, w.ops...); err != nil {
		return fmt.Errorf("remove records: %w", err)
	}
	w.count(len(w.ops))
	w.ops = nil // they belong to the storage
	return nil
}

func (w *wiper) count(n int) {
	w.n += n
	w.removed(w.n)
}

// removeBare removes a key that has only had children. On ZooKeeper it is an empty znode,
// not a record, so it is made a record before it is deleted.
func (w *wiper) removeBare(ctx context.Context, key store.Key) error {
	if err := w.flush(ctx); err != nil {
		return err
	}
	names, err := children(ctx, w.b, path.Dir(key))
	if err != nil {
		return err
	}
	for _, name := range names {
		if path.Join(path.Dir(key), name) != key {
			continue
		}
		versions, err := apply(ctx, w.b, store.Create(key, []byte("-")))
		if err != nil {
			return fmt.Errorf("remove %s: %w", key, err)
		}
		if _, err := apply(ctx, w.b, store.Delete(key, versions[0])); err != nil {
			return fmt.Errorf("remove %s: %w", key, err)
		}
	}
	return nil
}

// collect adds the removal of every record at and below key, leaves first. It is called
// when about a dozen records are left.
func (w *wiper) collect(ctx context.Context, key store.Key, ops *[]store.Op) error {
	names, err := children(ctx, w.b, key)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.collect(ctx, path.Join(key, name), ops); err != nil {
			return err
		}
	}
	node, err := get(ctx, w.b, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if key != w.keep {
		*ops = append(*ops, store.Delete(key, node.Version))
	}
	return nil
}
