package records

import (
	"context"
	"errors"
	"fmt"

	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// A write over a record must replace the very record that was read. A version
// alone is too weak a condition: on ZooKeeper the versions of a secret that was
// deleted and created again start where the old ones did. Hence the delete
// generations: every delete of a secret changes the version of a record of its
// bucket in the same transaction, and a write over a record also checks that
// version. If the generation was changed last before the record was written
// (the storage reports the revisions of both), and still has that version, no
// secret of the bucket was deleted since, and the record is the one that was
// read, however old the memory is that it came from. The same holds if the
// generation was known before the record was read.
//
// So an update need not read the record from the storage first, which costs two
// round trips and a write of the quorum: a server uses what it has in memory.

// generationKey returns the delete generation of the bucket of a folder of
// secrets.
func generationKey(folder store.Key) store.Key {
	return barrier.KeyGenerations + folder[len(barrier.KeySecrets):len(barrier.KeySecrets)+3]
}

// generationData is the content of the record; only its version counts.
var generationData = []byte{1}

// Generation is the delete generation of a bucket, as this server knew it
// before it read a secret of the bucket. The zero value is not known: no write
// can be conditional on it.
type Generation struct {
	key     store.Key
	version store.Version
	changed store.Revision // the last change; 0 if the storage does not tell
	known   bool
}

// precedes reports whether the generation was last changed before rec was
// written, or with it.
func (g Generation) precedes(rec *secretRecord) bool {
	return g.changed != 0 && g.changed <= rec.revision
}

// Check makes a write conditional on no secret of the bucket having been
// deleted since g was read.
func (g Generation) Check() []store.Op {
	if !g.known {
		return nil
	}
	return []store.Op{store.Check(g.key, g.version)}
}

// refused reports whether a write was refused because of the generation.
func (g Generation) refused(by *store.OpError) bool { return g.known && by.Key == g.key }

// Generations reads delete generations, and makes the operations that delete
// secrets.
type Generations struct {
	backend store.Backend
	barrier *barrier.Barrier
}

// NewGenerations returns the delete generations of a backend.
func NewGenerations(backend store.Backend, b *barrier.Barrier) *Generations {
	return &Generations{backend, b}
}

// Of returns the delete generation of the bucket of a folder of secrets; a
// cached one may be old. It is not known if there is none and none can be made.
// store.ErrUnavailable: then the storage need not be asked again for the same
// request, because each question may have to wait.
func (gs *Generations) Of(ctx context.Context, folder store.Key, c store.Consistency) (Generation, error) {
	if gs.barrier.Exclusive() || gs.barrier.Offline() {
		return Generation{}, nil // reads are never stale, or nothing is written
	}
	key := generationKey(folder)
	node, err := gs.backend.Get(ctx, key, c)
	if errors.Is(err, store.ErrNotFound) {
		err = gs.barrier.Commit(ctx, func(*barrier.Keys) ([]store.Op, error) {
			return []store.Op{store.Ensure(key, generationData)}, nil
		})
		if err == nil {
			node, err = gs.backend.Get(ctx, key, c)
		}
	}
	if errors.Is(err, store.ErrUnavailable) {
		// Not an unknown outcome: nothing of the secret was written.
		return Generation{}, fmt.Errorf("delete generation %s: %w", key, store.ErrUnavailable)
	}
	return Generation{key, node.Version, node.Revision, err == nil}, nil
}

// deleteOps returns the operations that delete a secret and change the delete
// generation of its bucket. No other code may delete a secret; a test checks
// it.
func (gs *Generations) deleteOps(rec *secretRecord) []store.Op {
	remove := store.Delete(rec.at.Key, rec.version)
	if gs.barrier.Exclusive() {
		return []store.Op{remove} // there are no generations: reads are never stale
	}
	return []store.Op{store.Bump(generationKey(rec.at.Folder), generationData), remove}
}

// deleteIfOps is deleteOps, on the condition that no secret of the bucket was
// deleted since g was read.
func (gs *Generations) deleteIfOps(g Generation, rec *secretRecord) []store.Op {
	ops := gs.deleteOps(rec)
	if g.known {
		ops[0] = store.Set(g.key, generationData, g.version)
	}
	return ops
}
