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

// Given returns b, which remembers what Apply was given. When the test ends, all
// of it has to be as it was: it belongs to the backend, which may still send it.
func Given(t testing.TB, b store.Backend) store.Backend {
	g := &given{Backend: b}
	t.Cleanup(func() {
		if err := g.changed(); err != nil {
			t.Error(err)
		}
	})
	return g
}

type given struct {
	store.Backend
	mu  sync.Mutex
	ops [][2][]store.Op // as they were given, and what they were; guarded by mu
}

func (g *given) Apply(ctx context.Context, ops ...store.Op) ([]store.Version, error) {
	were := slices.Clone(ops)
	for i := range were {
		were[i].Data = slices.Clone(were[i].Data)
	}
	g.mu.Lock()
	g.ops = append(g.ops, [2][]store.Op{ops, were})
	g.mu.Unlock()
	return g.Backend.Apply(ctx, ops...)
}

func (g *given) changed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, pair := range g.ops {
		for i, op := range pair[1] {
			if !reflect.DeepEqual(pair[0][i], op) {
				return fmt.Errorf("the caller has changed what it gave to Apply: %s is now %s, or its data is another", op.Key, pair[0][i].Key)
			}
		}
	}
	return nil
}
