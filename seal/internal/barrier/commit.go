package barrier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"secretstore/store"
)

// MaxAttempts bounds how often a read or a write starts over because the keys,
// or the records it needs, changed meanwhile.
const MaxAttempts = 8

// Commit applies the operations that build makes under the present keys, in one
// transaction that holds only while those are the keys and the store is not
// sealed. build may be called several times. The errors are those of
// store.Backend.Apply, and store.ErrUnavailable if the keys keep changing.
func (b *Barrier) Commit(ctx context.Context, build func(*Keys) ([]store.Op, error)) error {
	_, err := b.CommitVersions(ctx, build)
	return err
}

// CommitVersions is Commit. It returns the versions that the operations of
// build left.
func (b *Barrier) CommitVersions(ctx context.Context, build func(*Keys) ([]store.Op, error)) ([]store.Version, error) {
	for range MaxAttempts {
		var ops []store.Op
		err := b.Use(func(k *Keys) error {
			built, err := build(k)
			ops = append(k.checks(), built...)
			return err
		})
		if err != nil {
			return nil, err
		}
		versions, err := b.backend.Apply(ctx, ops...)
		if err == nil {
			return versions[writeChecks:], nil
		}
		var refused *store.OpError
		if !errors.As(err, &refused) || refused.Index >= writeChecks {
			return nil, err
		}
		if err := b.hooks.Refresh(ctx); errors.Is(err, store.ErrUnavailable) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the keys kept changing: %w", store.ErrUnavailable)
}

// Settle runs a read, and again with a fresh snapshot of the life cycle while
// it returns ErrReadAgain. A record that seems damaged in memory is read from
// the storage: it may have been repaired since it was cached.
func (b *Barrier) Settle(ctx context.Context, c store.Consistency, read func(store.Consistency) error) error {
	for attempt := range MaxAttempts {
		err := read(c)
		switch {
		case errors.Is(err, ErrCorrupt) && c == store.Cached:
			c = store.Latest
			continue
		case !errors.Is(err, ErrReadAgain):
			return err
		}
		var claims *unknownTerm
		if attempt > 0 && errors.As(err, &claims) {
			return Corrupt(claims.key, err)
		}
		if err := b.hooks.Refresh(ctx); errors.Is(err, store.ErrUnavailable) {
			return err
		}
		c = store.Latest
	}
	return fmt.Errorf("the record kept changing: %w", store.ErrUnavailable)
}

// CheckIntent compares the recorded seal intent with the version of it under
// which the keys were opened. ErrReadAgain if they differ.
//
// It asks the cache even for a linearizable read: a seal has a second to
// arrive, and a server that was cut off has no cache to ask until it has caught
// up. If the cache contradicts the keys, the storage itself decides.
func (b *Barrier) CheckIntent(ctx context.Context, want store.Version) (age time.Duration, err error) {
	if b.exclusive || b.offline {
		return 0, nil // no other server can have written it
	}
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		node, err := b.backend.Get(ctx, KeyIntent, c)
		switch {
		case err == nil && node.Version == want:
			return node.Age, nil
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return 0, fmt.Errorf("read %s: %w", KeyIntent, err)
		}
	}
	return 0, ErrReadAgain
}
