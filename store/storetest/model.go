package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"secretstore/store"
	"secretstore/store/memory"
)

// RunModel performs the same random operations on a backend and on the memory
// backend, and checks that the results are the same. All runs use one backend,
// each below a different key. The flags of package rapid (-rapid.checks) apply.
func RunModel(t *testing.T, open func(t *testing.T) store.Backend) {
	b := open(t)
	t.Cleanup(func() { _ = b.Close() })
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		run++
		m := &machine{
			ctx: ctx, real: b, model: memory.New(),
			root:       fmt.Sprintf("run%d", run),
			containers: make(map[store.Key]bool),
			stale:      make(map[store.Key][]store.Version),
		}
		defer m.model.Close()
		rt.Repeat(map[string]func(*rapid.T){
			"write": m.write,
			"read":  m.read,
			"list":  m.list,
		})
		m.compareAll(rt)
	})
}

// components differ in length, and in bytes that sort before and after '/'.
var components = []string{"a", "a-", "a.b", "a0", "b"}

// machine is one run of the model test. Keys in it are relative to root.
type machine struct {
	ctx         context.Context
	real, model store.Backend
	root        store.Key
	containers  map[store.Key]bool            // every key that ever had something below it
	stale       map[store.Key][]store.Version // of real, by key: versions it once had
}

func keys() *rapid.Generator[store.Key] {
	return rapid.Custom(func(t *rapid.T) store.Key {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(components), 1, 3).Draw(t, "components"), "/")
	})
}

func (m *machine) at(key store.Key) store.Key {
	if key == "" {
		return m.root
	}
	return m.root + "/" + key
}

// write applies one transaction to both.
func (m *machine) write(t *rapid.T) {
	var real, model []store.Op
	deletes := make(map[store.Key]bool)
	for _, key := range rapid.SliceOfNDistinct(keys(), 1, 4, rapid.ID).Draw(t, "keys") {
		kind := rapid.SampledFrom([]store.OpKind{
			store.OpCreate, store.OpCreate, store.OpCreate, store.OpEnsure, store.OpBump, store.OpSet, store.OpCheck, store.OpDelete, store.OpDelete,
		}).Draw(t, "kind")
		if kind == store.OpDelete && (m.emptied(key) || empties(deletes, key)) || belowDeleted(deletes, key) {
			continue // backends may deviate here: see the package comment
		}
		deletes[key] = kind == store.OpDelete
		r, o := m.op(t, kind, key)
		real, model = append(real, r), append(model, o)
		for parent := key; strings.Contains(parent, "/"); {
			parent = parent[:strings.LastIndexByte(parent, '/')]
			m.containers[parent] = true
		}
	}
	got, err := m.real.Apply(m.ctx, real...)
	_, want := m.model.Apply(m.ctx, model...)
	if !sameRefusal(err, want) {
		t.Fatalf("Apply(%v): %v, the model says %v", describe(real), err, want)
	}
	if err != nil {
		return
	}
	for i, op := range real {
		if op.Kind != store.OpCreate && op.Kind != store.OpSet {
			continue
		}
		m.stale[op.Key] = append(m.stale[op.Key], got[i])
	}
}

// op returns the same operation for both, at the current version or another.
func (m *machine) op(t *rapid.T, kind store.OpKind, key store.Key) (real, model store.Op) {
	real = store.Op{Kind: kind, Key: m.at(key)}
	model = real
	switch kind {
	case store.OpCreate, store.OpEnsure, store.OpSet, store.OpBump:
		real.Data = rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "data")
		model.Data = real.Data
	}
	switch kind {
	case store.OpSet, store.OpCheck, store.OpDelete:
		r, err1 := m.real.Get(m.ctx, real.Key, store.Latest)
		o, err2 := m.model.Get(m.ctx, model.Key, store.Latest)
		if (err1 == nil) != (err2 == nil) {
			t.Fatalf("Get(%s): %v, the model says %v", key, err1, err2)
		}
		real.Version, model.Version = r.Version, o.Version
		if rapid.IntRange(0, 4).Draw(t, "at another version") == 0 {
			real.Version, model.Version = r.Version+1, o.Version+1
			for _, old := range m.stale[real.Key] {
				if old != r.Version {
					real.Version = old
				}
			}
		}
	}
	return real, model
}

// emptied reports whether there is a name below key that was only ever a part of
// longer keys, and whose records were all deleted.
func (m *machine) emptied(key store.Key) bool {
	for c := range m.containers {
		if strings.HasPrefix(c, key+"/") && !m.inModel(c) {
			return true
		}
	}
	return false
}

// empties reports whether a delete earlier in the same transaction may leave a name
// below key without records, as [machine.emptied] finds them after a transaction.
func empties(deletes map[store.Key]bool, key store.Key) bool {
	for descendant, deleted := range deletes {
		below, ok := strings.CutPrefix(descendant, key+"/")
		if deleted && ok && strings.Contains(below, "/") {
			return true
		}
	}
	return false
}

// inModel reports whether the model has a record at or below key.
func (m *machine) inModel(key store.Key) bool {
	if _, err := m.model.Get(m.ctx, m.at(key), store.Latest); err == nil {
		return true
	}
	list, err := m.model.Children(m.ctx, m.at(key), store.Latest)
	return err == nil && len(list.Names) > 0
}

// belowDeleted reports whether an ancestor of key is deleted earlier in the same
// transaction. No caller needs that, and it is hard to support on ZooKeeper.
func belowDeleted(deletes map[store.Key]bool, key store.Key) bool {
	for ancestor, deleted := range deletes {
		if deleted && strings.HasPrefix(key, ancestor+"/") {
			return true
		}
	}
	return false
}

// sameRefusal reports whether two results of Apply agree.
func sameRefusal(got, want error) bool {
	if got == nil || want == nil {
		return got == nil && want == nil
	}
	var g, w *store.OpError
	return errors.As(got, &g) && errors.As(want, &w) && g.Index == w.Index && g.Key == w.Key && errors.Is(got, w.Err)
}

// describe formats ops without their data, which are random.
func describe(ops []store.Op) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&b, "{kind %d %s at %d}", op.Kind, op.Key, op.Version)
	}
	return b.String()
}

func (m *machine) read(t *rapid.T) { m.compare(t, keys().Draw(t, "key")) }

func (m *machine) compare(t *rapid.T, key store.Key) {
	want, wantErr := m.model.Get(m.ctx, m.at(key), store.Latest)
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		got, err := m.real.Get(m.ctx, m.at(key), c)
		if !errors.Is(err, wantErr) || string(got.Data) != string(want.Data) {
			t.Fatalf("Get(%s, %s): %x, %v, the model says %x, %v", key, name(c), got.Data, err, want.Data, wantErr)
		}
	}
}

func (m *machine) list(t *rapid.T) {
	key := rapid.OneOf(rapid.Just(""), keys()).Draw(t, "key")
	model, err := m.model.Children(m.ctx, m.at(key), store.Latest)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(model.Names))
	for _, c := range []store.Consistency{store.Cached, store.Latest} {
		real, err := m.real.Children(m.ctx, m.at(key), c)
		if err != nil {
			t.Fatalf("Children(%s, %s): %v", key, name(c), err)
		}
		got := slices.Sorted(slices.Values(real.Names))
		got = slices.DeleteFunc(got, func(name string) bool {
			child := strings.TrimPrefix(key+"/"+name, "/")
			return m.containers[child] && !m.inModel(child)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("Children(%s, %s): %q, the model says %q", key, name(c), got, want)
		}
	}
}

// compareAll compares every key that may have been written.
func (m *machine) compareAll(t *rapid.T) {
	all := components
	for level := range 3 {
		for _, key := range all {
			m.compare(t, key)
		}
		if level == 2 {
			return
		}
		var deeper []string
		for _, key := range all {
			for _, c := range components {
				deeper = append(deeper, key+"/"+c)
			}
		}
		all = deeper
	}
}
