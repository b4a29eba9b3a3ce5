package memory

import (
	"bytes"
	"slices"
	"strings"

	"secretstore/store"
	"secretstore/store/internal/local"
)

// apply does all ops, which store.CheckOps has accepted, or none. Each is checked
// against what the ones before it have left. When one is refused, those are undone
// in reverse order before anyone can read.
func (r *records) apply(ops []store.Op) ([]store.Version, error) {
	versions := make([]store.Version, len(ops))
	changed := make([]store.Key, 0, len(ops))
	var ids local.ChangedIDs
	r.mu.Lock()
	defer r.mu.Unlock()
	undo := make([]func(), 0, len(ops))
	for i, op := range ops {
		if err := r.refuses(op); err != nil {
			for _, back := range slices.Backward(undo) {
				back()
			}
			return nil, &store.OpError{Index: i, Key: op.Key, Err: err}
		}
		before, existed := r.byKey[op.Key]
		versions[i] = before.version
		if !writes(op, existed) {
			continue
		}
		versions[i] = r.do(op)
		changed = append(changed, op.Key)
		ids.Add(op)
		undo = append(undo, func() {
			if existed {
				r.put(op.Key, before)
			} else {
				r.remove(op.Key)
			}
		})
	}
	for h := range r.hubs {
		h.Changed(changed...)
		h.Report(ids.IDs()...)
	}
	return versions, nil
}

// refuses returns why op cannot be done now.
func (r *records) refuses(op store.Op) error {
	rec, exists := r.byKey[op.Key]
	switch {
	case op.Kind == store.OpEnsure, op.Kind == store.OpBump:
		return nil
	case op.Kind == store.OpCreate && exists:
		return store.ErrExists
	case op.Kind == store.OpCreate:
		return nil
	case !exists:
		return store.ErrNotFound
	case rec.version != op.Version:
		return store.ErrConflict
	case op.Kind == store.OpDelete && len(r.children[op.Key]) > 0:
		return store.ErrNotEmpty
	}
	return nil
}

// writes says whether op changes a record, which exists or not.
func writes(op store.Op, exists bool) bool {
	return op.Kind != store.OpCheck && !(op.Kind == store.OpEnsure && exists)
}

func (r *records) do(op store.Op) store.Version {
	if op.Kind == store.OpDelete {
		r.remove(op.Key)
		return 0
	}
	r.last++
	r.put(op.Key, record{data: bytes.Clone(op.Data), version: r.last})
	return r.last
}

func (r *records) put(key store.Key, rec record) {
	if _, exists := r.byKey[key]; !exists {
		r.count(key, 1)
	}
	r.byKey[key] = rec
}

func (r *records) remove(key store.Key) {
	delete(r.byKey, key)
	r.count(key, -1)
}

// count adds n to the name of key and of each of its ancestors.
func (r *records) count(key store.Key, n int) {
	for key != "" {
		parent, name := "", key
		if i := strings.LastIndexByte(key, '/'); i >= 0 {
			parent, name = key[:i], key[i+1:]
		}
		names := r.children[parent]
		if names == nil {
			names = make(map[string]int)
			r.children[parent] = names
		}
		if names[name] += n; names[name] == 0 {
			delete(names, name)
		}
		if len(names) == 0 {
			delete(r.children, parent)
		}
		key = parent
	}
}
