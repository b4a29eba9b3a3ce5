package seal

import (
	"context"
	"errors"
	"fmt"

	"secretstore/acl"
	"secretstore/store"
)

// Whoever writes over a record wants it to be the one that was looked at. A version
// alone is too weak a condition: on ZooKeeper those of a secret that was deleted
// and created again begin where the old ones did. Hence the marks: every delete of
// a secret bumps the mark of its bucket in the same transaction, and a write over
// a record also checks the mark. If that was bumped last before the record was
// written (the storage tells of both when that was), and still is at that version,
// no secret of the bucket has been deleted since, and the record is the very one
// that was looked at, however old the memory is that it was found in. The same
// holds if the mark was known before the record was looked at.
//
// So an update need not read the record from the storage first, which costs two
// round trips and a write of the quorum: a server uses what it has in memory.

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
	bumped  store.Revision // when it was last; 0 if the storage does not tell
	known   bool
}

// before reports whether the mark was bumped last before h was written, or with
// it.
func (m mark) before(h *head) bool { return m.bumped != 0 && m.bumped <= h.moment }

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
	return mark{key, node.Version, node.Revision, err == nil}, nil
}

// replaceRemembered is replace of a record as this server has it in memory, or
// as any member of the ensemble has it: in one round trip, mostly. If it is not
// done, nothing has happened, and the storage has to be asked what is there. The
// caller has the turn of the record. The errors are those of replace.
func (s *Store) replaceRemembered(ctx context.Context, p acl.Path, folder store.Key, when Match, build builder) (old *head, done bool, err error) {
	m, err := s.markOf(ctx, folder, store.Cached)
	if err != nil {
		return nil, true, err
	}
	if !m.known {
		return nil, false, nil
	}
	old, err = s.readHead(ctx, p, store.Cached)
	if errors.Is(err, store.ErrUnavailable) {
		return nil, true, err
	}
	if err != nil || !m.before(old) || when != nil && !when(idString(old.id)) {
		return nil, false, nil
	}
	err = s.commit(ctx, func(o *opened) ([]store.Op, error) { return build(o, m, old) })
	var refused *store.OpError
	if errors.As(err, &refused) && (refused.Key == old.key || m.refused(refused)) {
		return nil, false, nil
	}
	return old, true, err
}
