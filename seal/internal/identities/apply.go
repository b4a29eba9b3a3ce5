package identities

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sync/errgroup"

	"secretstore/iam"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// Apply implements [iam.Storage]. Besides the errors there: barrier.ErrSealed and the
// like, iam.ErrNotLoaded, barrier.ErrCorrupt if it is not known what else a bucket
// holds, store.ErrTooLarge, store.ErrUnavailable.
func (s *Identities) Apply(ctx context.Context, base uint64, put []iam.Record, remove []string) error {
	if err := checkRecords(put, remove); err != nil {
		return err
	}
	give, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer give()
	stuck := make(map[store.Key]bool)
	for range barrier.MaxAttempts {
		if err := s.Check(); err != nil {
			return err
		}
		known := s.current()
		if known == nil {
			return iam.ErrNotLoaded
		}
		if known.head.seq != base {
			return iam.ErrConflict
		}
		w := &writer{Identities: s, known: known, put: put, remove: remove, stuck: stuck}
		again, err := w.write(ctx)
		if !again {
			return err
		}
		if err := s.read(ctx, nil); err != nil {
			return err
		}
	}
	return fmt.Errorf("the identities kept changing: %w", store.ErrUnavailable)
}

// writer makes one attempt to write a change of a known state.
type writer struct {
	*Identities
	known  *state
	put    []iam.Record
	remove []string

	changes  []change
	next     *state
	indexes  map[byte][]byte // the new records of indexes
	news     news
	versions map[store.Key]store.Version // of what is in the storage
	// stuck are records that cannot be removed. They stay, and no index names them.
	stuck map[store.Key]bool
}

// change is what happens to one record.
type change struct {
	name   barrier.IAMName
	id     envelope.ID // of a new record
	record *iam.Record // nil removes it
}

// write writes the change. again says that the storage holds something else than
// what is known.
func (w *writer) write(ctx context.Context) (again bool, err error) {
	if err := w.plan(); err != nil {
		return false, err
	}
	same, err := w.readVersions(ctx)
	if err != nil || !same {
		return !same, err
	}
	err = w.barrier.Commit(ctx, w.build)
	var refused *store.OpError
	switch {
	case err == nil:
		if w.publish(w.next, w.news) != nil {
			return false, fmt.Errorf("%w: the keys were dropped meanwhile", store.ErrOutcomeUnknown)
		}
		return false, nil
	case errors.As(err, &refused) && errors.Is(err, store.ErrNotEmpty): // somebody has put records below it
		w.stuck[refused.Key] = true
		return true, nil
	case errors.As(err, &refused) && errors.Is(err, store.ErrUnusable):
		return false, barrier.Corrupt(refused.Key, err)
	case errors.As(err, &refused) && !errors.Is(err, store.ErrTooLarge) && !errors.Is(err, store.ErrInvalidOp):
		return true, nil
	}
	w.noteMissed() // it may have been written
	return false, err
}

// noteMissed makes Run look at the head.
func (s *Identities) noteMissed() {
	s.putBack(nil)
	s.poke()
}

// plan finds out which records and indexes change. barrier.ErrCorrupt if what else
// they hold is not known.
func (w *writer) plan() error {
	if w.known.headLost {
		return w.known.headDamage
	}
	err := w.barrier.Use(func(k *barrier.Keys) error {
		for i := range w.put {
			w.changes = append(w.changes, change{k.IAMName(w.put[i].Name), envelope.NewID(), &w.put[i]})
		}
		for _, name := range w.remove {
			w.changes = append(w.changes, change{name: k.IAMName(name)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	next, h := *w.known, *w.known.head
	h.seq++
	next.head, next.headDamage = &h, nil
	w.next, w.indexes, w.news = &next, make(map[byte][]byte), news{put: w.put, removed: w.remove}
	for _, c := range w.changes {
		i := c.name[0]
		old := w.known.buckets[i]
		if old.lost {
			return old.damage[indexKey(i)]
		}
		b := next.buckets[i]
		if b == old {
			b = &bucket{entries: maps.Clone(old.entries), damage: maps.Clone(old.damage), foreign: old.foreign}
			if b.entries == nil {
				b.entries = make(map[barrier.IAMName]entry)
			}
			next.buckets[i] = b
		}
		delete(b.damage, recordKey(c.name))
		delete(b.damage, indexKey(i))
		if c.record == nil {
			delete(b.entries, c.name)
		} else {
			b.entries[c.name] = entry{id: c.id, seq: h.seq, name: c.record.Name}
		}
	}
	for i, b := range next.buckets {
		if b == w.known.buckets[i] {
			continue
		}
		x := make(index, len(b.entries))
		for name, e := range b.entries {
			x[name] = e.id
		}
		data := x.encode()
		b.digest = sha256.Sum256(data)
		h.indexes[i], w.indexes[byte(i)] = b.digest, data
	}
	return nil
}

// readVersions reads at which versions the records are that are to be written. same
// says that the head in the storage is the one that is known, or that what is there
// is known to be damaged.
func (w *writer) readVersions(ctx context.Context) (same bool, err error) {
	w.versions = make(map[store.Key]store.Version)
	keys := []store.Key{barrier.KeyIAM}
	for i := range w.indexes {
		keys = append(keys, indexKey(i))
	}
	for _, c := range w.changes {
		keys = append(keys, recordKey(c.name))
	}
	nodes, errs := make([]store.Node, len(keys)), make([]error, len(keys))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, key := range keys {
		group.Go(func() error {
			nodes[i], errs[i] = w.backend.Get(groupCtx, key, store.Latest)
			if err := errs[i]; err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrUnusable) {
				return barrier.ReadError(key, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	removed := make(map[store.Key]bool)
	for _, c := range w.changes {
		removed[recordKey(c.name)] = c.record == nil
	}
	for i, key := range keys {
		switch err := errs[i]; {
		case err == nil:
			w.versions[key] = nodes[i].Version
		case errors.Is(err, store.ErrUnusable) && removed[key]:
			w.stuck[key] = true
		case errors.Is(err, store.ErrUnusable):
			return false, barrier.Corrupt(key, err)
		}
	}
	if errs[0] != nil {
		return w.known.head.seq == 0 || w.known.headDamage != nil, nil
	}
	return w.mayReplace(nodes[0].Data), nil
}

// mayReplace reports whether a record is the head that is known, or damage that is
// known and not newer.
func (w *writer) mayReplace(data []byte) bool {
	may := false
	_ = w.barrier.Use(func(k *barrier.Keys) error { // an error means sealed
		h, err := openHead(data, k.UUID, k.Root)
		may = err == nil && h == *w.known.head || w.known.headDamage != nil && (err != nil || h.seq <= w.known.head.seq)
		return nil
	})
	return may
}

// build makes the operations. Nothing of the storage is trusted but the versions.
func (w *writer) build(k *barrier.Keys) ([]store.Op, error) {
	ops := []store.Op{w.writeOp(barrier.KeyIAM, w.next.head.encode(k.UUID, k.Root))}
	for i, data := range w.indexes {
		ops = append(ops, w.writeOp(indexKey(i), data))
	}
	for _, c := range w.changes {
		key := recordKey(c.name)
		if c.record != nil {
			ops = append(ops, w.writeOp(key, sealRecord(k, c.name, c.id, w.next.head.seq, *c.record)))
		} else if version, there := w.versions[key]; there && !w.stuck[key] {
			ops = append(ops, store.Delete(key, version))
		}
	}
	return ops, nil
}

// writeOp is the operation that writes a record that is at a known version, or absent.
func (w *writer) writeOp(key store.Key, data []byte) store.Op {
	if version, there := w.versions[key]; there {
		return store.Set(key, data, version)
	}
	return store.Create(key, data)
}
