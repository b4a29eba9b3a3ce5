package seal

import (
	"context"
	"errors"
	"fmt"

	"github.com/elastic/go-freelru"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/store"
)

// Whoever writes over a record wants it to be the one that was looked at. A version
// alone is too weak a condition: on ZooKeeper those of a secret that was deleted
// and created again begin where the old ones did. Hence the marks: every delete of
// a secret bumps the mark of its bucket in the same transaction, and a write over
// a record also checks the mark, at a version that this server knew before it
// looked. If both are what they were, no secret of the bucket was deleted in
// between, and the record is the very one that was seen.
//
// So an update need not read the record from the storage first, which costs two
// round trips and a write of the quorum: a server uses what it has in memory of
// what it has written itself.

// markKey returns the mark of the bucket of a folder of secrets.
func markKey(folder store.Key) store.Key { return keyMarks + folder[len(keySecrets):len(keySecrets)+3] }

// markData is what a mark holds; its version is what tells.
var markData = []byte{1}

// mark is the version of a mark, as this server has known it before it looked at
// a secret of the bucket. The zero value is not known: then nothing can be made
// conditional on it.
type mark struct {
	key     store.Key
	version store.Version
	known   bool
}

// check makes a write conditional on no secret of the bucket having been deleted
// since.
func (m mark) check() []store.Op {
	if !m.known {
		return nil
	}
	return []store.Op{store.Check(m.key, m.version)}
}

// refused reports whether a write was refused because of the mark.
func (m mark) refused(by *store.OpError) bool { return m.known && by.Key == m.key }

// bump belongs to every delete of a secret in folder.
func (s *Store) bump(folder store.Key) []store.Op {
	if s.alone {
		return nil // no marks: what is read is never old
	}
	return []store.Op{store.Bump(markKey(folder), markData)}
}

// bumpIf is bump for a delete that is to happen only if no secret of the bucket
// was deleted since m.
func (s *Store) bumpIf(m mark, folder store.Key) []store.Op {
	if !m.known {
		return s.bump(folder)
	}
	return []store.Op{store.Set(m.key, markData, m.version)}
}

// seen is a secret's record as this server has written it.
type seen struct {
	mark     store.Version // what the mark was before
	revision store.Version
	envelope envelope.Identity
}

// maxSeen bounds how many records are remembered, at some 100 bytes each, without
// a pointer that the garbage collector had to follow. They are kept by hash: a
// record that is taken for another has another identity.
const maxSeen = 1 << 16

func newSeen() *freelru.SyncedLRU[store.ID, seen] {
	cache, err := freelru.NewSynced[store.ID, seen](maxSeen, func(i store.ID) uint32 { return uint32(uint64(i) >> 32) })
	if err != nil {
		panic("internal error: " + err.Error()) // unreachable: there is a size and a hash
	}
	return cache
}

// markOf returns the mark of the bucket of a folder; from memory it may be an old
// one. It is not known if there is none and none can be made.
// store.ErrUnavailable, of a storage that need not be asked another time for the
// same request: each question may be waited for.
func (s *Store) markOf(ctx context.Context, folder store.Key, c store.Consistency) (mark, error) {
	if s.alone || s.offline {
		return mark{}, nil
	}
	key := markKey(folder)
	node, err := s.backend.Get(ctx, key, c)
	if errors.Is(err, store.ErrNotFound) {
		err = s.commit(ctx, func(*opened) ([]store.Op, error) { return []store.Op{store.Ensure(key, markData)}, nil })
		if err == nil {
			node, err = s.backend.Get(ctx, key, c)
		}
	}
	if errors.Is(err, store.ErrUnavailable) {
		// Not that an outcome is unknown: nothing of the secret was written.
		return mark{}, fmt.Errorf("mark %s: %w", key, store.ErrUnavailable)
	}
	return mark{key, node.Version, err == nil}, nil
}

// commitSeen is commit for a transaction that ends with the write of a secret's
// record, which is remembered as seen. m is what markOf returned before.
func (s *Store) commitSeen(ctx context.Context, m mark, build func(*opened) ([]store.Op, error)) error {
	var record store.Op
	versions, err := s.apply(ctx, func(o *opened) ([]store.Op, error) {
		ops, err := build(o)
		if err == nil {
			record = ops[len(ops)-1]
		}
		return ops, err
	})
	if err == nil && m.known {
		s.seen.Add(store.RecordID(record.Key), seen{m.version, versions[len(versions)-1], envelope.IdentityOf(record.Data)})
	}
	return err
}

// replaceSeen is replace of a record that this server has seen, in one round
// trip. If it is not done, nothing has happened, and the storage has to be asked
// what is there. The caller has the turn of the record. The errors are those of
// replace.
func (s *Store) replaceSeen(ctx context.Context, p acl.Path, key store.Key, when Match, build builder) (old *head, done bool, err error) {
	was, known := s.seen.Get(store.RecordID(key))
	if !known {
		return nil, false, nil
	}
	old, err = s.readHead(ctx, p, store.Cached)
	if errors.Is(err, store.ErrUnavailable) {
		return nil, true, err
	}
	if err != nil || old.revision != was.revision || old.envelope != was.envelope || when != nil && !when(idString(old.id)) {
		return nil, false, nil
	}
	m, err := s.markOf(ctx, old.folder, store.Cached)
	if err != nil {
		return nil, true, err
	}
	if !m.known || m.version != was.mark {
		return nil, false, nil // it would be refused
	}
	err = s.commitSeen(ctx, m, func(o *opened) ([]store.Op, error) { return build(o, m, old) })
	var refused *store.OpError
	if errors.As(err, &refused) && (refused.Key == key || m.refused(refused)) {
		s.seen.Remove(store.RecordID(key))
		return nil, false, nil
	}
	return old, true, err
}
