package seal

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/store"
)

const (
	// maxTracked bounds the names that are kept for streams, those of secrets and
	// those of folders; at some 200 bytes each either stay below 50 MB.
	maxTracked = 1 << 18
	// trackPace is waited between two looks, so that a burst of changes in a
	// large folder does not list it for each of them.
	trackPace = 100 * time.Millisecond
	// trackRetry is waited when the storage did not answer.
	trackRetry = time.Second
	// trackTimeout bounds one look.
	trackTimeout = 30 * time.Second
)

// Stream begins to tell of the secrets below a folder (the zero Path is the
// root), however deep. Nothing that changes after Stream has returned is
// missed. ErrSealed, ErrTooManyNames, store.ErrUnavailable and the like.
func (s *Store) Stream(ctx context.Context, folder acl.Path) (*Stream, error) {
	if err := s.use(func(*opened) error { return nil }); err != nil {
		return nil, err
	}
	t := s.tracker
	st := &Stream{tracker: t, under: folder, woken: make(chan struct{}, 1), ready: make(chan struct{})}
	t.mu.Lock()
	t.streams[st] = struct{}{}
	t.mu.Unlock()
	t.poke()
	select {
	case <-st.ready:
	case <-ctx.Done():
		st.Close()
		return nil, store.ErrUnavailable
	}
	if _, err := st.Take(); err != nil {
		return nil, err
	}
	return st, nil
}

// track follows names while there are streams, until the context ends.
func (s *Store) track(ctx context.Context) {
	var names *nameIndex // nil while there are no streams
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			s.tracker.endAll(store.ErrUnavailable)
			return
		case <-s.tracker.wakeUp:
		}
		select {
		case <-ctx.Done():
			continue
		case <-pause.C:
		}
		ids, missed, wanted := s.tracker.take()
		if !wanted {
			names = nil
			pause.Reset(0)
			continue
		}
		next, err := s.trackOnce(ctx, names, ids, missed)
		names = next
		switch {
		case err == nil:
			pause.Reset(trackPace)
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			s.tracker.again(ids, missed)
			s.tracker.poke()
			pause.Reset(trackRetry)
		default:
			if !errors.Is(err, ErrSealed) {
				s.log.Warn("names cannot be followed; the streams of changes end", zap.Error(err))
			}
			names = nil
			s.tracker.endAll(err)
			pause.Reset(trackPace)
		}
	}
}

// trackOnce tells the streams what has changed, and returns the names as they
// are now. On an error it can be done again.
func (s *Store) trackOnce(ctx context.Context, known *nameIndex, ids map[store.ID]bool, missed bool) (*nameIndex, error) {
	ctx, cancel := context.WithTimeout(ctx, trackTimeout)
	defer cancel()
	names := known
	if names == nil || missed {
		fresh := newNameIndex(s)
		if err := fresh.readAll(ctx); err != nil {
			return names, err
		}
		names = fresh
		if missed {
			s.tracker.tell(Event{Kind: EventResync})
		}
	}
	touched, err := names.touched(ctx, ids)
	if errors.Is(err, ErrTooManyNames) && names == known {
		// Folders that have gone, and names that no stream covers, are kept until
		// here. What ids tell of those that go now is lost: hence the resync.
		return s.trackOnce(ctx, nil, ids, true)
	}
	if err != nil {
		return names, err
	}
	for id, p := range touched {
		if err := s.tellOf(ctx, names, id, p); err != nil {
			return names, err
		}
	}
	if !s.barrier.isOpen() {
		return nil, ErrSealed
	}
	s.tracker.openAll()
	return names, nil
}

// tellOf looks at a secret that may have changed, and tells the streams.
func (s *Store) tellOf(ctx context.Context, names *nameIndex, id store.ID, p acl.Path) error {
	if !s.tracker.wanted(p) {
		return nil
	}
	var h *head
	err := s.settle(ctx, store.Cached, func(c store.Consistency) (err error) {
		h, err = s.readHead(ctx, p, c)
		return err
	})
	switch {
	case err == nil:
		s.tracker.tell(Event{Kind: EventChanged, Path: p, Version: h.count, ID: idString(h.id)})
	case errors.Is(err, ErrNotFound):
		delete(names.secrets, id)
		s.tracker.tell(Event{Kind: EventDeleted, Path: p})
	case errors.Is(err, ErrCorrupt):
		// Whoever reads it is told which record it is.
	default:
		return err
	}
	return nil
}

// nameIndex finds names by the ids that the storage tells of. It belongs to
// track.
type nameIndex struct {
	store   *Store
	secrets map[store.ID]acl.Path      // by the id of the record
	folders map[store.ID]indexedFolder // by the id of the listing
	buckets map[store.ID]store.Key     // by the id of the listing
}

type indexedFolder struct {
	key      store.Key
	id, path string
}

func newNameIndex(s *Store) *nameIndex {
	n := &nameIndex{
		store: s, secrets: make(map[store.ID]acl.Path),
		folders: make(map[store.ID]indexedFolder), buckets: make(map[store.ID]store.Key),
	}
	for i := range 256 {
		bucket := keySecrets + "/" + hex.EncodeToString([]byte{byte(i)})
		n.buckets[store.ListingID(bucket)] = bucket
	}
	return n
}

// readAll reads the names of all secrets.
func (n *nameIndex) readAll(ctx context.Context) error {
	buckets, err := n.store.children(ctx, keySecrets, store.Cached)
	if err != nil {
		return err
	}
	for _, bucket := range buckets.Names {
		if err := n.readBucket(ctx, keySecrets+"/"+bucket); err != nil {
			return err
		}
	}
	return nil
}

// touched returns the secrets that may have changed where ids did. A new secret
// is told of in one piece of news with the listing that has gained its name.
func (n *nameIndex) touched(ctx context.Context, ids map[store.ID]bool) (map[store.ID]acl.Path, error) {
	for id := range ids {
		var err error
		if bucket, ok := n.buckets[id]; ok {
			err = n.readBucket(ctx, bucket)
		} else if folder, ok := n.folders[id]; ok {
			err = n.readFolder(ctx, folder)
		}
		if err != nil {
			return nil, err
		}
	}
	touched := make(map[store.ID]acl.Path)
	for id := range ids {
		if p, ok := n.secrets[id]; ok {
			touched[id] = p
		}
	}
	return touched, nil
}

// readBucket adds the folders of a bucket that are new, and their secrets.
func (n *nameIndex) readBucket(ctx context.Context, bucket store.Key) error {
	list, err := n.store.children(ctx, bucket, store.Cached)
	if err != nil {
		return err
	}
	for _, id := range list.Names {
		f := indexedFolder{key: bucket + "/" + id, id: id}
		listing := store.ListingID(f.key)
		if _, known := n.folders[listing]; known {
			continue
		}
		if len(n.folders) >= n.store.tracker.most {
			return ErrTooManyNames
		}
		f.path, err = n.store.folderPath(ctx, f.key, id, store.Cached)
		if errors.Is(err, store.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		if err := n.readFolder(ctx, f); err != nil {
			return err
		}
		n.folders[listing] = f // once its secrets are known
	}
	return nil
}

// readFolder adds the secrets of a folder that are new.
func (n *nameIndex) readFolder(ctx context.Context, f indexedFolder) error {
	list, err := n.store.children(ctx, f.key, store.Cached)
	if err != nil {
		return err
	}
	return n.store.use(func(o *opened) error {
		for _, child := range list.Names {
			key := f.key + "/" + child
			id := store.RecordID(key)
			if _, known := n.secrets[id]; known {
				continue
			}
			name, err := o.names.openName(f.id, child)
			if err != nil {
				return corrupt(key, err)
			}
			p, err := acl.ParsePath(f.path + "/" + name)
			if err != nil {
				return corrupt(key, err)
			}
			if len(n.secrets) >= n.store.tracker.most {
				return ErrTooManyNames
			}
			n.secrets[id] = p
		}
		return nil
	})
}
