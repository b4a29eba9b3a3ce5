package identities

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"

	"secretstore/iam"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// readers is how many records are read at once.
const readers = 64

// errMoved means that there was another change while records were read.
var errMoved = errors.New("the identities were changed meanwhile")

// read brings the state up to date with the storage. compare is a bucket of which
// all records are compared with what is in memory, if it is not nil. The caller has
// the turn.
func (s *Identities) read(ctx context.Context, compare *int) error {
	staged := &staged{records: make(map[envelope.ID]opened)}
	for range barrier.MaxAttempts {
		err := s.readOnce(ctx, compare, staged)
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	return fmt.Errorf("the identities kept changing: %w", store.ErrUnavailable)
}

// staged is what was read in vain, because there was another change meanwhile.
type staged struct {
	mu      sync.Mutex
	records map[envelope.ID]opened // guarded by mu
}

type opened struct {
	record iam.Record
	seq    uint64
}

func (s *Identities) readOnce(ctx context.Context, compare *int, staged *staged) error {
	drops := s.drops.Load()
	known := s.current()
	next := &state{drops: drops, head: &head{}}
	for i := range next.buckets {
		next.buckets[i] = emptyBucket
	}
	if known != nil {
		*next = *known
	}
	h, err := s.readHead(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound) && next.head.seq == 0:
		next.headDamage, err = s.withoutHead(ctx)
		next.headLost = next.headDamage != nil
	case errors.Is(err, store.ErrNotFound):
		next.headDamage = barrier.Corrupt(barrier.KeyIAM, err)
	case errors.Is(err, barrier.ErrCorrupt):
		next.headDamage, next.headLost = err, next.head.seq == 0
	case err != nil:
		return err
	case h.seq < next.head.seq || h.seq == next.head.seq && *h != *next.head:
		next.headDamage = barrier.Corrupt(barrier.KeyIAM, barrier.ErrOutdated)
	default:
		next.head, next.headDamage, next.headLost = h, nil, false
	}
	if err != nil && next.headDamage == nil {
		return err
	}
	n, clean, err := s.readBuckets(ctx, next, compare, staged)
	if err != nil {
		return err
	}
	if !clean && next.headDamage == nil {
		// It is damage, unless it was another change.
		again, err := s.readHead(ctx)
		if err == nil && *again != *next.head {
			return errMoved
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, barrier.ErrCorrupt) {
			return err
		}
	}
	return s.publish(next, n)
}

// readHead reads the head. store.ErrNotFound, barrier.ErrCorrupt.
func (s *Identities) readHead(ctx context.Context) (h *head, err error) {
	seen := false // a head that is not genuine
	err = s.barrier.Settle(ctx, store.Latest, func(c store.Consistency) error {
		node, err := s.backend.Get(ctx, barrier.KeyIAM, c)
		if err != nil {
			return barrier.ReadError(barrier.KeyIAM, err)
		}
		return s.barrier.Use(func(k *barrier.Keys) error {
			opened, err := openHead(node.Data, k.UUID, k.Root)
			if errors.Is(err, errBadMAC) && !seen {
				seen = true
				return barrier.ErrReadAgain // another server may have replaced the root key
			}
			if err != nil {
				return barrier.Corrupt(barrier.KeyIAM, err)
			}
			h = &opened
			return nil
		})
	})
	return h, err
}

// withoutHead returns the damage if there are records, but no head.
func (s *Identities) withoutHead(ctx context.Context) (damage, err error) {
	list, err := s.barrier.Children(ctx, barrier.KeyIAM, store.Latest)
	if errors.Is(err, barrier.ErrCorrupt) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range list.Names {
		if barrier.IsBucket(name) {
			return barrier.Corrupt(barrier.KeyIAM, store.ErrNotFound), nil
		}
	}
	return nil, nil
}

// readBuckets reads the buckets that have changed, into next, and the one to
// compare. clean says that it has met no damage.
func (s *Identities) readBuckets(ctx context.Context, next *state, compare *int, staged *staged) (n news, clean bool, err error) {
	var mu sync.Mutex // guards clean and n
	clean = true
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	records := make(chan struct{}, readers)
	for i, old := range next.buckets {
		all := compare != nil && *compare == i
		if !all && !old.lost && old.digest == next.head.indexes[i] || next.headLost {
			continue
		}
		group.Go(func() error {
			r := bucketReader{Identities: s, staged: staged, number: byte(i), old: old, want: next.head.indexes[i], all: all, running: records}
			if err := r.read(ctx); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			next.buckets[i] = r.next
			clean = clean && r.clean
			n.put, n.removed = append(n.put, r.news.put...), append(n.removed, r.news.removed...)
			return nil
		})
	}
	if compare != nil && *compare == 0 {
		group.Go(func() error {
			list, err := s.barrier.Children(ctx, barrier.KeyIAM, store.Cached)
			if err != nil {
				return err
			}
			next.foreign = list.Foreign
			for _, name := range list.Names {
				if !barrier.IsBucket(name) {
					next.foreign++
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return n, clean, err
}

// bucketReader reads one bucket.
type bucketReader struct {
	*Identities
	staged  *staged
	number  byte
	old     *bucket
	want    digest
	all     bool          // also what seems to be unchanged
	running chan struct{} // bounds how many records are read at once

	next  *bucket
	news  news
	clean bool
}

func (r *bucketReader) read(ctx context.Context) error {
	r.clean = true
	r.next = &bucket{digest: r.want, entries: make(map[barrier.IAMName]entry), damage: make(map[store.Key]error)}
	x, err := r.readIndex(ctx)
	if errors.Is(err, barrier.ErrCorrupt) {
		r.loseIndex(err)
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.readRecords(ctx, x); err != nil {
		return err
	}
	for name, e := range r.old.entries {
		if _, there := x[name]; !there && e.name != "" {
			r.news.removed = append(r.news.removed, e.name)
		}
	}
	if r.all {
		return r.readNames(ctx, x)
	}
	r.next.foreign = r.old.foreign
	for key, err := range r.old.damage { // of records that no index names
		if _, there := r.next.damage[key]; !there && !r.decided(key, x) {
			r.next.damage[key] = err
		}
	}
	return nil
}

// decided reports whether this read has found out if a record is damaged.
func (r *bucketReader) decided(key store.Key, x index) bool {
	if key == indexKey(r.number) {
		return true
	}
	name, ok := parseName(r.number, key[len(indexKey(r.number))+1:])
	_, listed := x[name]
	return ok && listed && r.old.entries[name] != r.next.entries[name]
}

// readIndex reads the index that the head names. barrier.ErrCorrupt.
func (r *bucketReader) readIndex(ctx context.Context) (x index, err error) {
	key := indexKey(r.number)
	err = r.barrier.Settle(ctx, store.Cached, func(c store.Consistency) error {
		node, err := r.backend.Get(ctx, key, c)
		switch {
		case errors.Is(err, store.ErrNotFound) && r.want == digest{}:
			x = nil
			return nil
		case errors.Is(err, store.ErrNotFound):
			return barrier.Corrupt(key, err)
		case err != nil:
			return barrier.ReadError(key, err)
		case sha256.Sum256(node.Data) != r.want:
			return barrier.Corrupt(key, barrier.ErrOutdated)
		}
		if x, err = parseIndex(node.Data); err != nil {
			return barrier.Corrupt(key, err)
		}
		return nil
	})
	return x, err
}

// loseIndex makes next the bucket without its index. If what is in memory is what
// the index would say, it stays.
func (r *bucketReader) loseIndex(err error) {
	r.clean = false
	if r.old.digest == r.want && !r.old.lost {
		kept := *r.old
		kept.damage = maps.Clone(kept.damage)
		if kept.damage == nil {
			kept.damage = make(map[store.Key]error)
		}
		kept.damage[indexKey(r.number)] = err
		r.next = &kept
		return
	}
	r.next.lost = true
	r.next.damage[indexKey(r.number)] = err
	for name, e := range r.old.entries {
		e.lost = true
		r.next.entries[name] = e
		r.lose(r.old.entries[name])
	}
}

// lose tells the listener that a record does not count any more: one without data
// gives no right.
func (r *bucketReader) lose(old entry) {
	if old.name != "" && !old.lost {
		r.news.put = append(r.news.put, iam.Record{Name: old.name})
	}
}

func (r *bucketReader) readRecords(ctx context.Context, x index) error {
	var names []barrier.IAMName // to be read
	for name, id := range x {
		if old, known := r.old.entries[name]; known && old.id == id && !old.lost && !r.all {
			r.next.entries[name] = old
		} else {
			names = append(names, name)
		}
	}
	var mu sync.Mutex // guards next, news and clean
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		id := x[name]
		select {
		case r.running <- struct{}{}:
		case <-ctx.Done():
			_ = group.Wait()
			return context.Cause(ctx)
		}
		group.Go(func() error {
			defer func() { <-r.running }()
			got, err := r.readRecord(ctx, name, id)
			if err != nil && !errors.Is(err, barrier.ErrCorrupt) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			r.take(name, id, got, err)
			return nil
		})
	}
	return group.Wait()
}

// take notes a record that the index names, or that it is damaged.
func (r *bucketReader) take(name barrier.IAMName, id envelope.ID, got opened, err error) {
	old := r.old.entries[name]
	same := old.id == id && !old.lost
	switch {
	case err == nil && got.seq >= old.seq:
		r.next.entries[name] = entry{id: id, seq: got.seq, name: got.record.Name}
		if !same {
			r.news.put = append(r.news.put, got.record)
		} else {
			clear(got.record.Data)
		}
		return
	case err == nil: // genuine, as the index is, but older than what is in memory
		err = barrier.Corrupt(recordKey(name), barrier.ErrOutdated)
		r.next.entries[name] = old
	case same:
		r.next.entries[name] = old
	default:
		r.next.entries[name] = entry{id: id, seq: old.seq, name: old.name, lost: true}
		r.lose(old)
	}
	r.clean = false
	r.next.damage[recordKey(name)] = err
}

// readRecord reads and decrypts the record that has this id. barrier.ErrCorrupt.
func (r *bucketReader) readRecord(ctx context.Context, name barrier.IAMName, id envelope.ID) (got opened, err error) {
	if !r.all {
		r.staged.mu.Lock()
		got, ok := r.staged.records[id]
		r.staged.mu.Unlock()
		if ok {
			return got, nil
		}
	}
	key := recordKey(name)
	err = r.barrier.Settle(ctx, store.Cached, func(c store.Consistency) error {
		node, err := r.backend.Get(ctx, key, c)
		if errors.Is(err, store.ErrNotFound) {
			return barrier.Corrupt(key, err)
		}
		if err != nil {
			return barrier.ReadError(key, err)
		}
		return r.barrier.Use(func(k *barrier.Keys) error {
			got.record, got.seq, err = openRecord(k, name, id, node.Data)
			return err
		})
	})
	if err == nil && !r.all {
		r.staged.mu.Lock()
		r.staged.records[id] = got
		r.staged.mu.Unlock()
	}
	return got, err
}

// readNames finds records that no index names.
func (r *bucketReader) readNames(ctx context.Context, x index) error {
	key := indexKey(r.number)
	list, err := r.barrier.Children(ctx, key, store.Cached)
	if errors.Is(err, barrier.ErrCorrupt) {
		r.clean = false
		r.next.damage[key] = err
		return nil
	}
	if err != nil {
		return err
	}
	r.next.foreign = list.Foreign
	for _, child := range list.Names {
		name, ok := parseName(r.number, child)
		if !ok {
			r.next.foreign++
			continue
		}
		if _, listed := x[name]; !listed {
			r.clean = false
			r.next.damage[recordKey(name)] = barrier.Corrupt(recordKey(name), barrier.ErrOutdated)
		}
	}
	return nil
}
