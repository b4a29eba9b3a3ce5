// Package storetest is the conformance suite for backends. Run checks each
// statement of the contract in package store. RunModel performs random operations
// and compares the results with those of the memory backend.
//
// The suite assumes nothing about the values of versions, which may start again
// after a deletion, nor about timing, except for a bound that only a hung backend
// exceeds. It allows backends one deviation: a name that was only ever a part of
// longer keys may still be listed, and count as a child, after the last record
// below it was deleted.
//
// It is large because the contract is: each file is about one part of it.
package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"secretstore/store"
)

// patience is how long the suite waits for something that must happen soon, also on a
// busy machine.
const patience = 3 * time.Minute

// Open returns a backend on a new, empty storage. The suite closes it, and may
// close it more than once.
type Open func(t *testing.T) store.Backend

// Option adds tests that do not apply to every backend.
type Option func(*suite)

// Second adds tests with two servers. open must return another backend on the
// storage of first. The suite closes it.
func Second(open func(t *testing.T, first store.Backend) store.Backend) Option {
	return func(s *suite) { s.second = open }
}

type suite struct {
	open   Open
	second func(t *testing.T, first store.Backend) store.Backend
}

// Run runs the conformance suite. open is called once for each test.
func Run(t *testing.T, open func(t *testing.T) store.Backend, options ...Option) {
	s := &suite{open: open}
	for _, option := range options {
		option(s)
	}
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Get", getTests},
		{"Children", childrenTests},
		{"Apply", applyTests},
		{"Limits", limitTests},
		{"Watch", watchTests},
		{"Changes", changesTests},
		{"Snapshot", snapshotTests},
		{"Context", contextTests},
		{"Concurrency", concurrencyTests},
		{"Close", closeTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, tt := range group.tests {
				t.Run(tt.name, func(t *testing.T) { tt.run(s.env(t)) })
			}
		})
	}
	if s.second == nil {
		return
	}
	t.Run("Announcements", func(t *testing.T) {
		for _, tt := range announceTests {
			t.Run(tt.name, func(t *testing.T) {
				e := s.env(t)
				if _, ok := e.b.(store.Announcer); !ok {
					t.Fatal("servers share this storage, and cannot announce themselves")
				}
				tt.run(e)
			})
		}
	})
	t.Run("SecondServer", func(t *testing.T) {
		for _, tt := range secondTests {
			t.Run(tt.name, func(t *testing.T) {
				e := s.env(t)
				other := s.second(t, e.b)
				t.Cleanup(func() { _ = other.Close() })
				tt.run(e, &env{T: t, b: other, ctx: e.ctx})
			})
		}
	})
}

// test is one statement of the contract.
type test struct {
	name string
	run  func(e *env)
}

// env is a running test and its backend.
type env struct {
	*testing.T
	b   store.Backend
	ctx context.Context
}

func (s *suite) env(t *testing.T) *env {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	b := s.open(t)
	t.Cleanup(func() { _ = b.Close() })
	return &env{T: t, b: b, ctx: ctx}
}

// apply applies ops, which must succeed.
func (e *env) apply(ops ...store.Op) []store.Version {
	e.Helper()
	versions, err := e.b.Apply(e.ctx, ops...)
	if err != nil {
		e.Fatalf("Apply: %v", err)
	}
	if len(versions) != len(ops) {
		e.Fatalf("Apply returned %d versions for %d operations", len(versions), len(ops))
	}
	return versions
}

// create creates a record and returns its version.
func (e *env) create(key store.Key, data string) store.Version {
	e.Helper()
	return e.apply(store.Create(key, []byte(data)))[0]
}

// refused checks that ops are refused with want because of the operation at
// index.
func (e *env) refused(want error, index int, ops ...store.Op) {
	e.Helper()
	_, err := e.b.Apply(e.ctx, ops...)
	if !errors.Is(err, want) {
		e.Fatalf("Apply: %v, want %v", err, want)
	}
	var op *store.OpError
	if !errors.As(err, &op) {
		e.Fatalf("Apply: %v is not an OpError", err)
	}
	if op.Index != index || op.Key != ops[index].Key {
		e.Errorf("OpError for operation %d, %q, want %d, %q", op.Index, op.Key, index, ops[index].Key)
	}
}

// get reads a record that must exist.
func (e *env) get(key store.Key) store.Node {
	e.Helper()
	n, err := e.b.Get(e.ctx, key, store.Latest)
	if err != nil {
		e.Fatalf("Get(%.80q): %v", key, err)
	}
	return n
}

// holds checks that both kinds of read find data under key.
func (e *env) holds(key store.Key, data string) {
	e.Helper()
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		n, err := e.b.Get(e.ctx, key, c)
		if err != nil || string(n.Data) != data {
			e.Errorf("Get(%.80q, %s): %.80q, %v, want %.80q", key, name(c), n.Data, err, data)
		}
	}
}

// lacks checks that neither kind of read finds a record.
func (e *env) lacks(keys ...store.Key) {
	e.Helper()
	for _, key := range keys {
		for _, c := range []store.Consistency{store.Cached, store.Latest} {
			if _, err := e.b.Get(e.ctx, key, c); !errors.Is(err, store.ErrNotFound) {
				e.Errorf("Get(%.80q, %s): %v, want ErrNotFound", key, name(c), err)
			}
		}
	}
}

// lists checks that both kinds of read list exactly names, once each.
func (e *env) lists(key store.Key, names ...string) {
	e.Helper()
	slices.Sort(names)
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		if got := e.names(key, c); !slices.Equal(got, names) {
			e.Errorf("Children(%.80q, %s): %.200q, want %.200q", key, name(c), got, names)
		}
	}
}

// names returns the sorted children of key.
func (e *env) names(key store.Key, c store.Consistency) []string {
	e.Helper()
	list, err := e.b.Children(e.ctx, key, c)
	if err != nil {
		e.Fatalf("Children(%.80q, %s): %v", key, name(c), err)
	}
	if list.Age != 0 {
		e.Errorf("Children(%.80q, %s): age %v while the storage can be reached", key, name(c), list.Age)
	}
	return slices.Sorted(slices.Values(list.Names))
}

func name(c store.Consistency) string {
	if c == store.Latest {
		return "Latest"
	}
	return "Cached"
}

// eventually waits until done is true.
func (e *env) eventually(what string, done func() bool) {
	e.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.Fatalf("after %v still not: %s", patience, what)
		}
	}
}
