package bolt

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"secretstore/store"
	"secretstore/store/internal/local"
)

const (
	// snapshotPart is how many records are read in one transaction the first time.
	snapshotPart = local.PaceBurst
	// snapshotPartSize and snapshotLastSize bound, in bytes of keys and data, what one
	// transaction reads into memory. The last record may exceed it.
	snapshotPartSize = 1 << 20
	snapshotLastSize = 16 << 20
)

// Snapshot implements store.Snapshotter: all records are as they are in the read
// transaction that ends it. That one reads only what has changed since it was read in
// parts, each in a transaction of its own, and emit is called outside of them. What is
// read again is not counted by s.Rate, or it might never end. s.Pause has no effect.
//
// One transaction for everything would last as long as the caller needs, and until it
// ended bbolt could not use the pages again that writes replace. It keeps a list of
// them, and each commit writes all of it, to new pages: 2,000 commits made a file of
// 0.3 GB one of 1.1 GB, and 2,000 more would have made it one of 4 GB. A write for
// which the file has to be mapped again would also wait for that transaction, and all
// reads would wait for the write.
func (b *Backend) Snapshot(ctx context.Context, s store.Snapshot, emit func(store.Key, []byte) error) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return err
	}
	sn := &snapshot{b: b, ask: s, emit: emit, pace: local.NewPace(s.Rate)}
	b.snapshots.begin(sn)
	defer b.snapshots.end(sn)
	for _, below := range s.Below {
		if err := sn.readBelow(ctx, below); err != nil {
			return err
		}
	}
	for round := 1; ; round++ {
		changed, part, err := sn.readChanged()
		if err != nil {
			return err
		}
		if len(changed) > 0 && s.Again != nil {
			s.Again(round)
		}
		switch {
		case len(part) == len(changed):
			return sn.emitAll(ctx, part)
		case round > store.SnapshotRounds:
			return fmt.Errorf("%w: %s: records still changed after they were read %d times", store.ErrTooManyWrites, b.path, round)
		}
		if err := sn.readAgain(ctx, changed); err != nil {
			return err
		}
	}
}

// snapshot is one Snapshot. It is for one goroutine.
type snapshot struct {
	b    *Backend
	ask  store.Snapshot
	emit func(store.Key, []byte) error
	pace local.Pace

	changed map[store.Key]struct{} // since they were taken; guarded by snapshots
}

// record is a copy of a record; without data there is none.
type record struct {
	key  store.Key
	data []byte
}

// readBelow reads the records at and below a key, in the order of the file.
func (sn *snapshot) readBelow(ctx context.Context, below store.Key) error {
	for from := below; ; {
		part, next, err := sn.readPart(below, from)
		if err != nil {
			return err
		}
		if err := sn.pace.Wait(ctx, len(part)); err != nil {
			return err
		}
		if err := sn.emitAll(ctx, part); err != nil || next == "" {
			return err
		}
		from = next
	}
}

// readPart reads records at and below a key, in one transaction, from a key on. next
// is the key from which the next part begins; "" if there is none.
func (sn *snapshot) readPart(below, from store.Key) (part []record, next store.Key, err error) {
	tx, err := sn.b.begin()
	if err != nil {
		return nil, "", err
	}
	defer tx.end(&err)
	c := tx.records().Cursor()
	seen, size, last := 0, 0, ""
	for key, value := c.Seek([]byte(from)); key != nil && bytes.HasPrefix(key, []byte(below)); key, value = c.Next() {
		name := string(key)
		if name < from || name <= last { // it could go on forever
			return nil, "", damage(sn.b.path, fmt.Sprintf("record %s is out of order", name))
		}
		if seen == snapshotPart || size >= snapshotPartSize {
			return part, name, nil
		}
		seen, last = seen+1, name
		if !sn.ask.Covers(name) { // others can be between these: a, a-b, a/x
			continue
		}
		data, _, err := split(value)
		if err != nil {
			return nil, "", fmt.Errorf("%s: record %s: %w", sn.b.path, name, err)
		}
		part = append(part, record{name, bytes.Clone(data)})
		size += len(name) + len(data)
	}
	return part, "", nil
}

// readChanged returns the keys of what has changed since the last call, and copies of
// these records as they are in one transaction; of the first ones only, if all of them
// are too much. Keys are noted before they change, so after the beginning of the
// transaction those of all changes that it sees are there.
func (sn *snapshot) readChanged() (changed []store.Key, part []record, err error) {
	tx, err := sn.b.begin()
	if err != nil {
		return nil, nil, err
	}
	defer tx.end(&err)
	changed = sn.b.snapshots.takeChanged(sn)
	part, err = tx.copies(changed, snapshotLastSize)
	return changed, part, err
}

// readAgain reads records that have changed.
func (sn *snapshot) readAgain(ctx context.Context, keys []store.Key) error {
	for len(keys) > 0 {
		part, err := sn.readKeys(keys)
		if err != nil {
			return err
		}
		if err := sn.emitAll(ctx, part); err != nil {
			return err
		}
		keys = keys[len(part):]
	}
	return nil
}

// readKeys reads the first records of keys, in one transaction.
func (sn *snapshot) readKeys(keys []store.Key) (part []record, err error) {
	tx, err := sn.b.begin()
	if err != nil {
		return nil, err
	}
	defer tx.end(&err)
	return tx.copies(keys, snapshotPartSize)
}

// emitAll emits what was read.
func (sn *snapshot) emitAll(ctx context.Context, part []record) error {
	for _, r := range part {
		if err := local.Expired(ctx); err != nil {
			return err
		}
		if err := sn.emit(r.key, r.data); err != nil {
			return err
		}
	}
	return nil
}

// copies returns copies of the first records of keys, up to a size.
func (r readTx) copies(keys []store.Key, limit int) (part []record, err error) {
	size := 0
	for _, key := range keys {
		if size >= limit {
			break
		}
		var data []byte
		if value := r.records().Get([]byte(key)); value != nil {
			if data, _, err = split(value); err != nil {
				return nil, fmt.Errorf("%s: record %s: %w", r.b.path, key, err)
			}
		}
		part = append(part, record{key, bytes.Clone(data)})
		size += len(key) + len(data)
	}
	return part, nil
}

// snapshots are those that are being read. The zero value has none.
type snapshots struct {
	mu      sync.Mutex
	all     []*snapshot
	pending [][]store.Key // what a batch changes whose commit is on its way
}

// begin notes for sn which records change from now on.
func (s *snapshots) begin(sn *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sn.changed = make(map[store.Key]struct{})
	s.all = append(s.all, sn)
	for _, keys := range s.pending {
		sn.note(keys)
	}
}

func (s *snapshots) end(sn *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(other *snapshot) bool { return other == sn })
}

// note notes what a batch changes. The writer calls it before the commit.
func (s *snapshots) note(batch []*request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range batch {
		s.pending = append(s.pending, r.changed)
		for _, sn := range s.all {
			sn.note(r.changed)
		}
	}
}

// settled is called after the commit of a batch that was noted, or its failure.
func (s *snapshots) settled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = nil
}

func (sn *snapshot) note(keys []store.Key) {
	for _, key := range keys {
		if sn.ask.Covers(key) {
			sn.changed[key] = struct{}{}
		}
	}
}

// takeChanged returns the keys of the records that have changed since the last call.
func (s *snapshots) takeChanged(sn *snapshot) []store.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.Collect(maps.Keys(sn.changed))
	clear(sn.changed)
	for _, keys := range s.pending { // a transaction that has begun does not see them
		sn.note(keys)
	}
	return keys
}
