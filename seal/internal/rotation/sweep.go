package rotation

import (
	"context"
	"errors"
	"slices"
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
	"secretstore/seal/internal/identities"
	"secretstore/seal/internal/records"
	"secretstore/store"
)

// sweep walks once over all encrypted records and encrypts those again that are
// under another term than the active one.
type sweep struct {
	*Rotation
	term   uint32
	verify bool // a complete sweep went before
	// before is what the sweep before has found, which holds until this one ends.
	before  progressRecord
	beat    uint64
	version store.Version // of the rotation record

	total atomic.Int64 // records there are
	done  atomic.Int64 // of them, under the active term by now
	old   atomic.Int64 // of them, found under another term
	limit *rate.Limiter

	damage damage
}

func newSweep(r *Rotation, term uint32, verify bool, before progressRecord) *sweep {
	s := &sweep{Rotation: r, term: term, verify: verify, beat: before.Beat, limit: rate.NewLimiter(sweepRate, sweepRate/10)}
	if before.Term == term {
		s.before = before
	}
	return s
}

// damage collects what a sweep has skipped: one junk record must not keep all
// others under an old key.
type damage struct {
	mu    sync.Mutex
	found barrier.Finding // guarded by mu
}

// skip adds the record that err is about, if it is a damaged record, and
// reports whether it is.
func (d *damage) skip(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found.Skip(err)
}

func (d *damage) join(f barrier.Finding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found.Join(f)
}

func (d *damage) all() barrier.Finding {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found
}

// first returns how many records are damaged, and the key of one.
func (d *damage) first() (int64, store.Key) {
	f := d.all()
	if f.Damaged == 0 {
		return 0, ""
	}
	return int64(f.Damaged), f.First[0].Key
}

// beatEvery is how often a sweep reports its progress.
const beatEvery = time.Second

// run does the sweep and keeps the rotation record, which is at this version, up
// to date; a server that has lost the record to another one stops.
func (s *sweep) run(ctx context.Context, version store.Version) error {
	s.version = version
	if err := s.count(ctx); err != nil {
		s.total.Store(0) // not known
		return err
	}
	report := func(ctx context.Context) error {
		p := s.progress()
		if p.Damaged == 0 {
			p.Damaged, p.DamagedRecord = s.before.Damaged, s.before.DamagedRecord
		}
		p.Reason = s.before.Reason
		return s.report(ctx, p)
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
	return s.report(ctx, s.progress())
}

// fail reports an error that ended the sweep, for the status on other servers.
func (s *sweep) fail(ctx context.Context, err error) {
	p := s.progress()
	p.Reason = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, err.Error())
	p.Reason = p.Reason[:min(len(p.Reason), maxReason)]
	_ = s.report(ctx, p) // this server knows it in any case
}

func (s *sweep) progress() progressRecord {
	done := s.done.Load()
	damaged, key := s.damage.first()
	return progressRecord{Term: s.term, Total: max(done, s.total.Load()), Done: done, Verify: s.verify, Damaged: damaged, DamagedRecord: key}
}

// report writes the rotation record. It belongs to one goroutine at a time.
func (s *sweep) report(ctx context.Context, p progressRecord) (err error) {
	s.beat++
	p.Beat = s.beat
	s.version, err = s.writeProgress(ctx, p, s.version)
	return err
}

// count counts the records, for the progress. What it skips, the walk notes.
func (s *sweep) count(ctx context.Context) error {
	var skipped barrier.Finding
	for _, root := range []store.Key{barrier.KeySecrets, barrier.KeyDeleted} {
		folders, _, err := s.config.Barrier.FolderKeys(ctx, root, store.Latest)
		if err != nil {
			return err
		}
		for _, folder := range folders {
			names, err := s.children(ctx, folder, barrier.IsSecretName)
			if err != nil && !skipped.Skip(err) {
				return err
			}
			s.total.Add(int64(len(names)))
		}
	}
	blobs, err := s.children(ctx, barrier.KeyBlobs, records.IsBlobName)
	if err != nil {
		return err
	}
	for _, id := range blobs {
		pieces, err := s.children(ctx, barrier.KeyBlobs+"/"+id, records.IsPieceName)
		if err != nil && !skipped.Skip(err) {
			return err
		}
		s.total.Add(1 + int64(len(pieces)))
	}
	buckets, err := s.children(ctx, barrier.KeyIAM, barrier.IsBucket)
	if err != nil {
		return err
	}
	for _, bucket := range buckets {
		names, err := s.children(ctx, barrier.KeyIAM+"/"+bucket, func(name string) bool { return identities.IsName(bucket, name) })
		if err != nil && !skipped.Skip(err) {
			return err
		}
		s.total.Add(int64(len(names)))
	}
	return nil
}

// walk visits secrets, deleted secrets, pieces and identities. Records that are created,
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
	if err == nil {
		err = s.walkIdentities(ctx, workers)
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
		names, err := s.secretNames(ctx, folder)
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
	if s.damage.skip(err) || errors.Is(err, store.ErrNotFound) { // pruned
		return nil
	}
	if err != nil {
		return err
	}
	names, err := s.secretNames(ctx, folder)
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
	blobs, err := s.children(ctx, barrier.KeyBlobs, records.IsBlobName)
	if err != nil {
		return err
	}
	for _, id := range blobs {
		err := s.walkBlob(ctx, workers, barrier.KeyBlobs+"/"+id)
		if err != nil && !s.damage.skip(err) {
			return err
		}
	}
	return nil
}

func (s *sweep) walkBlob(ctx context.Context, workers *errgroup.Group, key store.Key) error {
	node, err := s.config.Backend.Get(ctx, key, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return barrier.ReadError(key, err)
	}
	h, _, err := s.config.Pieces.OpenHead(key, node.Data)
	if errors.Is(err, barrier.ErrUnknownTerm) {
		return barrier.Corrupt(key, err)
	}
	if err != nil {
		return err
	}
	pieces, err := s.children(ctx, key, records.IsPieceName)
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
	return nil
}

// walkIdentities visits the records of the identities. The index of a bucket changes
// with each change in it, and is never removed.
func (s *sweep) walkIdentities(ctx context.Context, workers *errgroup.Group) error {
	buckets, err := s.children(ctx, barrier.KeyIAM, barrier.IsBucket)
	if err != nil {
		return err
	}
	for _, bucket := range buckets {
		index := barrier.KeyIAM + "/" + bucket
		var condition []store.Op
		node, err := s.config.Backend.Get(ctx, index, store.Latest)
		if err == nil {
			condition = []store.Op{store.Check(index, node.Version)}
		} else if err = barrier.ReadError(index, err); !errors.Is(err, store.ErrNotFound) && !s.damage.skip(err) {
			return err
		}
		names, err := s.children(ctx, index, func(name string) bool { return identities.IsName(bucket, name) })
		if err != nil && !s.damage.skip(err) {
			return err
		}
		for _, name := range names {
			key := index + "/" + name
			workers.Go(func() error {
				return s.visitIf(ctx, key, condition, func(k *barrier.Keys) (envelope.Place, error) { return k.IAMPlace(key), nil })
			})
		}
	}
	return nil
}

// folders returns the folders below root, and notes what it has skipped.
func (s *sweep) folders(ctx context.Context, root store.Key) ([]store.Key, error) {
	folders, found, err := s.config.Barrier.FolderKeys(ctx, root, store.Latest)
	s.damage.join(found)
	return folders, err
}

// secretNames returns the names of the records of secrets in a folder. There are
// none if it cannot be listed, which it notes.
func (s *sweep) secretNames(ctx context.Context, folder store.Key) ([]string, error) {
	names, err := s.children(ctx, folder, barrier.IsSecretName)
	if s.damage.skip(err) {
		return nil, nil
	}
	return names, err
}

// children returns the names below key that this program can have made.
func (s *sweep) children(ctx context.Context, key store.Key, ours func(string) bool) ([]string, error) {
	list, err := s.config.Barrier.Children(ctx, key, store.Latest)
	return slices.DeleteFunc(slices.Clone(list.Names), func(name string) bool { return !ours(name) }), err
}

// visitSecret is visit for the record of a secret, deleted or not, that is or
// was in folder: before it is written, it may be removed and made again with
// the same version.
func (s *sweep) visitSecret(ctx context.Context, key, folder store.Key, place func(*barrier.Keys) (envelope.Place, error)) error {
	g, err := s.config.Generations.Of(ctx, folder, store.Cached)
	if err != nil {
		return err
	}
	return s.visitIf(ctx, key, g.Check(), place)
}

// visit encrypts one record again if it is under an old term. A write that
// changes the record meanwhile uses the active term.
func (s *sweep) visit(ctx context.Context, key store.Key, place func(*barrier.Keys) (envelope.Place, error)) error {
	return s.visitIf(ctx, key, nil, place)
}

// visitIf is visit, which writes only under a condition: that nothing was removed
// and made again since the record was read.
func (s *sweep) visitIf(ctx context.Context, key store.Key, condition []store.Op, place func(*barrier.Keys) (envelope.Place, error)) error {
	node, err := s.config.Backend.Get(ctx, key, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err = barrier.ReadError(key, err); s.damage.skip(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if h, err := envelope.ParseHeader(node.Data); err == nil && h.Term == s.term {
		s.done.Add(1)
		return nil
	}
	s.old.Add(1)
	if err := s.limit.Wait(ctx); err != nil {
		return err
	}
	return s.reseal(ctx, key, condition, node, place)
}

func (s *sweep) reseal(ctx context.Context, key store.Key, condition []store.Op, node store.Node, place func(*barrier.Keys) (envelope.Place, error)) error {
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
		return append(slices.Clone(condition), op), nil
	})
	var refused *store.OpError
	switch {
	case errors.As(err, &refused):
		return nil // the next sweep reads it again
	case errors.Is(err, barrier.ErrUnknownTerm), errors.Is(err, store.ErrUnusable): // the latter: it may not be written
		err = barrier.Corrupt(key, err)
	}
	if s.damage.skip(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s.done.Add(1)
	return nil
}
