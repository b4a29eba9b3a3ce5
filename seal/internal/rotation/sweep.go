package rotation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"secretstore/acl"
	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/records"
	"secretstore/store"
)

// sweep walks once over all encrypted records and encrypts those again that are
// under another term than the active one.
type sweep struct {
	*Rotation
	term   uint32
	verify bool // a complete sweep went before

	total atomic.Int64 // records there are
	done  atomic.Int64 // of them, under the active term by now
	old   atomic.Int64 // of them, found under another term
	limit *rate.Limiter

	damage damage
}

func newSweep(r *Rotation, term uint32, verify bool) *sweep {
	return &sweep{Rotation: r, term: term, verify: verify, limit: rate.NewLimiter(sweepRate, sweepRate/10)}
}

// damage collects the records that do not open. A sweep continues past them:
// one junk record must not keep all others under an old key.
type damage struct {
	mu    sync.Mutex
	count int64     // guarded by mu
	key   store.Key // of one of them; guarded by mu
}

func (d *damage) note(key store.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count, d.key = d.count+1, key
}

func (d *damage) first() (int64, store.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count, d.key
}

// beatEvery is how often a sweep reports its progress.
const beatEvery = time.Second

// run does the sweep and keeps the rotation record up to date; a server that
// has lost the record to another one stops.
func (s *sweep) run(ctx context.Context, beat uint64, version store.Version) error {
	report := func(ctx context.Context) (err error) {
		beat++
		done := s.done.Load()
		damaged, key := s.damage.first()
		version, err = s.writeProgress(ctx, progressRecord{Beat: beat, Term: s.term, Total: max(done, s.total.Load()), Done: done, Verify: s.verify,
			Damaged: damaged, DamagedRecord: key}, version)
		return err
	}
	if err := s.count(ctx); err != nil {
		return err
	}
	if err := report(ctx); err != nil {
		return err
	}
	work, workCtx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	work.Go(func() error {
		defer close(done)
		return s.walk(workCtx)
	})
	work.Go(func() error {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return nil
			case <-workCtx.Done():
				return nil
			case <-tick.C:
				if err := report(workCtx); err != nil {
					return err
				}
			}
		}
	})
	if err := work.Wait(); err != nil {
		return err
	}
	return report(ctx)
}

// count counts the records, for the progress.
func (s *sweep) count(ctx context.Context) error {
	var parents []store.Key
	for _, root := range []store.Key{barrier.KeySecrets, barrier.KeyDeleted} {
		folders, err := s.folders(ctx, root)
		if err != nil {
			return err
		}
		parents = append(parents, folders...)
	}
	blobs, err := s.children(ctx, barrier.KeyBlobs)
	if err != nil {
		return err
	}
	for _, id := range blobs {
		parents = append(parents, barrier.KeyBlobs+"/"+id)
		s.total.Add(1)
	}
	for _, parent := range parents {
		children, err := s.children(ctx, parent)
		if err != nil {
			return err
		}
		s.total.Add(int64(len(children)))
	}
	return nil
}

// walk visits secrets, deleted secrets and pieces. Records that are created,
// deleted or undeleted while it runs are under the active term from then on.
func (s *sweep) walk(ctx context.Context) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(sweepWorkers)
	err := s.walkSecrets(ctx, workers)
	if err == nil {
		err = s.walkDeleted(ctx, workers)
	}
	if err == nil {
		err = s.walkBlobs(ctx, workers)
	}
	return errors.Join(workers.Wait(), err)
}

func (s *sweep) walkSecrets(ctx context.Context, workers *errgroup.Group) error {
	folders, err := s.folders(ctx, barrier.KeySecrets)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := s.walkFolder(ctx, workers, folder, folder[strings.LastIndexByte(folder, '/')+1:]); err != nil {
			return err
		}
	}
	return nil
}

func (s *sweep) walkDeleted(ctx context.Context, workers *errgroup.Group) error {
	folders, err := s.folders(ctx, barrier.KeyDeleted)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		names, err := s.children(ctx, folder)
		if err != nil {
			return err
		}
		for _, child := range names {
			key := folder + "/" + child
			workers.Go(func() error {
				return s.visitSecret(ctx, key, barrier.KeySecrets+folder[len(barrier.KeyDeleted):], func(k *barrier.Keys) (envelope.Place, error) { return k.DeletedPlace(key), nil })
			})
		}
	}
	return nil
}

func (s *sweep) walkFolder(ctx context.Context, workers *errgroup.Group, folder store.Key, id string) error {
	folderPath, err := s.config.Folders.Path(ctx, folder, id, store.Latest)
	if errors.Is(err, barrier.ErrCorrupt) {
		s.damage.note(folder)
		return nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil // pruned
	}
	if err != nil {
		return err
	}
	names, err := s.children(ctx, folder)
	if err != nil {
		return err
	}
	for _, child := range names {
		key := folder + "/" + child
		workers.Go(func() error {
			return s.visitSecret(ctx, key, folder, func(k *barrier.Keys) (envelope.Place, error) {
				name, err := k.OpenName(id, child)
				if err != nil {
					return envelope.Place{}, barrier.Corrupt(key, err)
				}
				full, err := acl.ParsePath(folderPath + "/" + name)
				if err != nil {
					return envelope.Place{}, barrier.Corrupt(key, err)
				}
				return k.SecretPlace(full), nil
			})
		})
	}
	return nil
}

func (s *sweep) walkBlobs(ctx context.Context, workers *errgroup.Group) error {
	blobs, err := s.children(ctx, barrier.KeyBlobs)
	if err != nil {
		return err
	}
	for _, id := range blobs {
		key := barrier.KeyBlobs + "/" + id
		node, err := s.config.Backend.Get(ctx, key, store.Latest)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		h, _, err := s.config.Pieces.OpenHead(key, node.Data)
		if errors.Is(err, barrier.ErrCorrupt) || errors.Is(err, barrier.ErrUnknownTerm) {
			s.damage.note(key)
			continue
		}
		if err != nil {
			return err
		}
		pieces, err := s.children(ctx, key)
		if err != nil {
			return err
		}
		for _, piece := range pieces {
			workers.Go(func() error {
				return s.visit(ctx, key+"/"+piece, func(k *barrier.Keys) (envelope.Place, error) {
					i, err := strconv.ParseUint(piece, 10, 32)
					if err != nil {
						return envelope.Place{}, barrier.Corrupt(key+"/"+piece, err)
					}
					return k.PiecePlace(h.Path, uint32(i), h.Pieces), nil
				})
			})
		}
		workers.Go(func() error {
			return s.visit(ctx, key, func(k *barrier.Keys) (envelope.Place, error) { return k.BlobPlace(key), nil })
		})
	}
	return nil
}

func (s *sweep) folders(ctx context.Context, root store.Key) ([]store.Key, error) {
	return s.config.Barrier.FolderKeys(ctx, root, store.Latest)
}

func (s *sweep) children(ctx context.Context, key store.Key) ([]string, error) {
	list, err := s.config.Barrier.Children(ctx, key, store.Latest)
	return list.Names, err
}

// visitSecret is visit for the record of a secret, deleted or not, that is or
// was in folder: before it is written, it may be removed and made again with
// the same version.
func (s *sweep) visitSecret(ctx context.Context, key, folder store.Key, place func(*barrier.Keys) (envelope.Place, error)) error {
	g, err := s.config.Generations.Of(ctx, folder, store.Cached)
	if err != nil {
		return err
	}
	return s.visitIf(ctx, key, g, place)
}

// visit encrypts one record again if it is under an old term. A write that
// changes the record meanwhile uses the active term.
func (s *sweep) visit(ctx context.Context, key store.Key, place func(*barrier.Keys) (envelope.Place, error)) error {
	return s.visitIf(ctx, key, records.Generation{}, place)
}

// visitIf is visit, which writes only if no secret of the bucket was deleted
// since g was read.
func (s *sweep) visitIf(ctx context.Context, key store.Key, g records.Generation, place func(*barrier.Keys) (envelope.Place, error)) error {
	node, err := s.config.Backend.Get(ctx, key, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if h, err := envelope.ParseHeader(node.Data); err == nil && h.Term == s.term {
		s.done.Add(1)
		return nil
	}
	s.old.Add(1)
	if err := s.limit.Wait(ctx); err != nil {
		return err
	}
	return s.reseal(ctx, key, g, node, place)
}

func (s *sweep) reseal(ctx context.Context, key store.Key, g records.Generation, node store.Node, place func(*barrier.Keys) (envelope.Place, error)) error {
	err := s.config.Barrier.Commit(ctx, func(k *barrier.Keys) ([]store.Op, error) {
		at, err := place(k)
		if err != nil {
			return nil, err
		}
		data, err := k.Reseal(key, at, node.Data)
		if err != nil || data == nil {
			return nil, err
		}
		op := store.Set(key, data, node.Version)
		op.Quiet = true // the value is the same
		return append(g.Check(), op), nil
	})
	var refused *store.OpError
	switch {
	case errors.As(err, &refused):
		return nil // the next sweep reads it again
	case errors.Is(err, barrier.ErrCorrupt), errors.Is(err, barrier.ErrUnknownTerm):
		s.damage.note(key)
		return nil
	case err != nil:
		return err
	}
	s.done.Add(1)
	return nil
}
