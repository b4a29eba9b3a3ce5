package seal

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
	"secretstore/store"
)

// pass goes once over all encrypted records and re-encrypts those under another
// term than the active one.
type pass struct {
	store  *Store
	term   uint32
	verify bool // another pass went before

	total atomic.Int64 // records there are
	done  atomic.Int64 // of them, under the active term by now
	old   atomic.Int64 // of them, found under another term
	limit *rate.Limiter

	damage damage
}

// damage collects the records that do not open. A pass goes on past them: one
// junk record must not keep all others under an old key.
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

// beatEvery is how often a pass shows its progress.
const beatEvery = time.Second

// run does the pass and keeps the rotation record up to date; a server that has
// lost the record to another stops.
func (p *pass) run(ctx context.Context, beat uint64, version store.Version) error {
	p.limit = rate.NewLimiter(rotateRate, rotateRate/10)
	report := func(ctx context.Context) (err error) {
		beat++
		done := p.done.Load()
		damaged, key := p.damage.first()
		version, err = p.store.writeRotation(ctx, rotationRecord{Beat: beat, Term: p.term, Total: max(done, p.total.Load()), Done: done, Verify: p.verify,
			Damaged: damaged, DamagedRecord: key}, version)
		return err
	}
	if err := p.count(ctx); err != nil {
		return err
	}
	if err := report(ctx); err != nil {
		return err
	}
	work, workCtx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	work.Go(func() error {
		defer close(done)
		return p.walk(workCtx)
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

// count finds how many records there are, for the progress.
func (p *pass) count(ctx context.Context) error {
	var parents []store.Key
	for _, root := range []store.Key{keySecrets, keyDeleted} {
		folders, err := p.folders(ctx, root)
		if err != nil {
			return err
		}
		parents = append(parents, folders...)
	}
	blobs, err := p.children(ctx, keyBlobs)
	if err != nil {
		return err
	}
	for _, id := range blobs {
		parents = append(parents, keyBlobs+"/"+id)
		p.total.Add(1)
	}
	for _, parent := range parents {
		children, err := p.children(ctx, parent)
		if err != nil {
			return err
		}
		p.total.Add(int64(len(children)))
	}
	return nil
}

// walk visits secrets, deleted secrets and pieces. What is created, deleted or
// undeleted while it runs is under the active term from then on.
func (p *pass) walk(ctx context.Context) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(rotateWorkers)
	err := p.walkSecrets(ctx, workers)
	if err == nil {
		err = p.walkDeleted(ctx, workers)
	}
	if err == nil {
		err = p.walkBlobs(ctx, workers)
	}
	return errors.Join(workers.Wait(), err)
}

func (p *pass) walkSecrets(ctx context.Context, workers *errgroup.Group) error {
	folders, err := p.folders(ctx, keySecrets)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := p.walkFolder(ctx, workers, folder, folder[strings.LastIndexByte(folder, '/')+1:]); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) walkDeleted(ctx context.Context, workers *errgroup.Group) error {
	folders, err := p.folders(ctx, keyDeleted)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		names, err := p.children(ctx, folder)
		if err != nil {
			return err
		}
		for _, child := range names {
			key := folder + "/" + child
			workers.Go(func() error {
				return p.visitSecret(ctx, key, keySecrets+folder[len(keyDeleted):], func(o *opened) (envelope.Place, error) { return deletedPlace(o, key), nil })
			})
		}
	}
	return nil
}

func (p *pass) walkFolder(ctx context.Context, workers *errgroup.Group, folder store.Key, id string) error {
	folderPath, err := p.store.folderPath(ctx, folder, id, store.Latest)
	if errors.Is(err, ErrCorrupt) {
		p.damage.note(folder)
		return nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil // pruned
	}
	if err != nil {
		return err
	}
	names, err := p.children(ctx, folder)
	if err != nil {
		return err
	}
	for _, child := range names {
		key := folder + "/" + child
		workers.Go(func() error {
			return p.visitSecret(ctx, key, folder, func(o *opened) (envelope.Place, error) {
				name, err := o.names.openName(id, child)
				if err != nil {
					return envelope.Place{}, corrupt(key, err)
				}
				full, err := acl.ParsePath(folderPath + "/" + name)
				if err != nil {
					return envelope.Place{}, corrupt(key, err)
				}
				return secretPlace(o, full), nil
			})
		})
	}
	return nil
}

func (p *pass) walkBlobs(ctx context.Context, workers *errgroup.Group) error {
	blobs, err := p.children(ctx, keyBlobs)
	if err != nil {
		return err
	}
	for _, id := range blobs {
		key := keyBlobs + "/" + id
		node, err := p.store.backend.Get(ctx, key, store.Latest)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		h, _, err := p.store.openBlobHead(key, node.Data)
		if errors.Is(err, ErrCorrupt) || errors.Is(err, errUnknownTerm) {
			p.damage.note(key)
			continue
		}
		if err != nil {
			return err
		}
		pieces, err := p.children(ctx, key)
		if err != nil {
			return err
		}
		for _, piece := range pieces {
			workers.Go(func() error {
				return p.visit(ctx, key+"/"+piece, func(o *opened) (envelope.Place, error) {
					i, err := strconv.ParseUint(piece, 10, 32)
					if err != nil {
						return envelope.Place{}, corrupt(key+"/"+piece, err)
					}
					return piecePlace(o, h.path, uint32(i), h.pieces), nil
				})
			})
		}
		workers.Go(func() error {
			return p.visit(ctx, key, func(o *opened) (envelope.Place, error) { return blobPlace(o, key), nil })
		})
	}
	return nil
}

func (p *pass) folders(ctx context.Context, root store.Key) ([]store.Key, error) {
	return p.store.folderKeys(ctx, root, store.Latest)
}

func (p *pass) children(ctx context.Context, key store.Key) ([]string, error) {
	list, err := p.store.children(ctx, key, store.Latest)
	return list.Names, err
}

// visitSecret is visit for the record of a secret, deleted or not, that is or was
// in folder: it may be removed and made again, to the same version, before it is
// written.
func (p *pass) visitSecret(ctx context.Context, key, folder store.Key, place func(*opened) (envelope.Place, error)) error {
	m, err := p.store.markOf(ctx, folder, store.Cached)
	if err != nil {
		return err
	}
	return p.visitIf(ctx, key, m, place)
}

// visit re-encrypts one record if it is under an old term. Whoever changes the
// record meanwhile has written it under the active term.
func (p *pass) visit(ctx context.Context, key store.Key, place func(*opened) (envelope.Place, error)) error {
	return p.visitIf(ctx, key, mark{}, place)
}

// visitIf is visit, which writes only if no secret of the bucket was deleted since m.
func (p *pass) visitIf(ctx context.Context, key store.Key, m mark, place func(*opened) (envelope.Place, error)) error {
	node, err := p.store.backend.Get(ctx, key, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if h, err := envelope.ParseHeader(node.Data); err == nil && h.Term == p.term {
		p.done.Add(1)
		return nil
	}
	p.old.Add(1)
	if err := p.limit.Wait(ctx); err != nil {
		return err
	}
	return p.reseal(ctx, key, m, node, place)
}

func (p *pass) reseal(ctx context.Context, key store.Key, m mark, node store.Node, place func(*opened) (envelope.Place, error)) error {
	err := p.store.commit(ctx, func(o *opened) ([]store.Op, error) {
		at, err := place(o)
		if err != nil {
			return nil, err
		}
		data, err := o.reseal(key, at, node.Data)
		if err != nil || data == nil {
			return nil, err
		}
		op := store.Set(key, data, node.Version)
		op.Quiet = true // the value is the same
		return append(m.check(), op), nil
	})
	var refused *store.OpError
	switch {
	case errors.As(err, &refused):
		return nil // the next pass sees what it is now
	case errors.Is(err, ErrCorrupt), errors.Is(err, errUnknownTerm):
		p.damage.note(key)
		return nil
	case err != nil:
		return err
	}
	p.done.Add(1)
	return nil
}
