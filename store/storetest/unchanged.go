package storetest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"secretstore/store"
)

// CheckUnchanged returns a backend that passes all calls to b. It fails the test
// if the caller has changed operations after giving them to Apply: they belong to
// the backend, which may still be sending them. The check is made at the end of
// the test.
func CheckUnchanged(t testing.TB, b store.Backend) store.Backend {
	r := &recorder{Backend: b}
	t.Cleanup(func() {
		if err := r.check(); err != nil {
			t.Error(err)
		}
	})
	a, announces := b.(store.Announcer)
	s, snaps := b.(store.Snapshotter)
	switch {
	case announces && snaps:
		return struct {
			*recorder
			store.Announcer
			store.Snapshotter
		}{r, a, s}
	case snaps:
		return struct {
			*recorder
			store.Snapshotter
		}{r, s}
	}
	return r
}

// recorder records the operations given to Apply.
type recorder struct {
	store.Backend
	mu  sync.Mutex
	ops [][2][]store.Op // what was given, and a copy made then; guarded by mu
}

func (r *recorder) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	copied := slices.Clone(ops)
	for i := range copied {
		copied[i].Data = slices.Clone(copied[i].Data)
	}
	r.mu.Lock()
	r.ops = append(r.ops, [2][]store.Op{ops, copied})
	r.mu.Unlock()
	return r.Backend.Apply(ctx, ops...)
}

// check compares all operations with their copies.
func (r *recorder) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pair := range r.ops {
		for i, op := range pair[1] {
			if !reflect.DeepEqual(pair[0][i], op) {
				return fmt.Errorf("the caller changed an operation after Apply: %s is now %s, or its data differs", op.Key, pair[0][i].Key)
			}
		}
	}
	return nil
}
