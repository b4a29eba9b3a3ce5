package feed

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/records"
	"secretstore/store"
)

const (
	// DefaultMaxNames bounds the names that are kept for streams, of secrets and
	// of folders; at some 200 bytes each both stay below 50 MB.
	DefaultMaxNames = 1 << 18
	// trackPace is the pause between two rounds, so that a burst of changes in a
	// large folder does not list it for each of them.
	trackPace = 100 * time.Millisecond
	// trackRetry is the pause if the storage did not answer.
	trackRetry = time.Second
	// trackAgain is when records that were skipped may have been repaired, which
	// no change reports.
	trackAgain = time.Minute
	// trackTimeout bounds one round.
	trackTimeout = 30 * time.Second
)

// Stream starts to report the changes of the secrets below a folder (the zero
// Path is the root), however deep. No change after Stream has returned is
// missed. ErrSealed, ErrTooManyNames, store.ErrUnavailable and the like.
func (f *Feed) Stream(ctx context.Context, folder acl.Path) (*Stream, error) {
	if err := f.barrier.Ready(); err != nil {
		return nil, err
	}
	st := f.tracker.add(folder)
	select {
	case <-st.ready:
	case <-ctx.Done():
		st.Close()
		return nil, store.ErrUnavailable
	}
	if err := st.err(); err != nil {
		return nil, err
	}
	return st, nil
}

// track serves the streams until the context ends.
func (f *Feed) track(ctx context.Context) {
	t := f.tracker
	var index *nameIndex // nil while there are no streams
	pause := time.NewTimer(0)
	defer pause.Stop()
	again := time.NewTicker(trackAgain)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			t.endAll(store.ErrUnavailable)
			return
		case <-t.wakeUp:
		case <-again.C:
			if index == nil || len(index.skipped) == 0 {
				continue
			}
			index.lookAgain = true
			t.poke()
			continue
		}
		select {
		case <-ctx.Done():
			continue
		case <-pause.C:
		}
		ids, missed, wanted := t.take()
		if !wanted {
			index = nil
			pause.Reset(0)
			continue
		}
		next, err := f.trackOnce(ctx, index, ids, missed)
		index = next
		switch {
		case err == nil:
			pause.Reset(trackPace)
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			t.putBack(ids, missed)
			t.poke()
			pause.Reset(trackRetry)
		default:
			if !errors.Is(err, barrier.ErrSealed) {
				f.log.Warn("cannot follow names; the streams of changes end", zap.Error(err))
			}
			index = nil
			t.endAll(err)
			pause.Reset(trackPace)
		}
	}
}

// trackOnce reports the changes to the streams, and returns the names as they
// are now. After an error it can be repeated.
func (f *Feed) trackOnce(ctx context.Context, known *nameIndex, ids map[store.ID]bool, missed bool) (*nameIndex, error) {
	ctx, cancel := context.WithTimeout(ctx, trackTimeout)
	defer cancel()
	index := known
	if index == nil || missed {
		fresh := newNameIndex(f)
		if err := fresh.readAll(ctx); err != nil {
			return index, err
		}
		index = fresh
		if missed {
			f.tracker.notify(Event{Kind: EventResync})
		}
	}
	touched, err := index.touched(ctx, ids)
	if errors.Is(err, ErrTooManyNames) && index == known {
		// The index still has folders that are gone, and names that no stream
		// covers. A new one drops them, and with them what the ids of gone secrets
		// mean: hence the resync.
		return f.trackOnce(ctx, nil, ids, true)
	}
	if err != nil {
		return index, err
	}
	for id, p := range touched {
		if err := f.reportSecret(ctx, index, id, p); err != nil {
			return index, err
		}
	}
	if !f.barrier.IsOpen() {
		return nil, barrier.ErrSealed
	}
	f.tracker.openAll(index.skips)
	return index, nil
}

// reportSecret reads a secret that may have changed, and reports it to the
// streams.
func (f *Feed) reportSecret(ctx context.Context, index *nameIndex, id store.ID, p acl.Path) error {
	if !f.tracker.wanted(p) {
		return nil
	}
	value, version, err := f.reader.Stat(ctx, p, store.Cached)
	switch {
	case err == nil:
		f.tracker.notify(Event{Kind: EventChanged, Path: p, Version: version, ID: value})
	case errors.Is(err, records.ErrNotFound):
		delete(index.secrets, id)
		f.tracker.notify(Event{Kind: EventDeleted, Path: p})
	case errors.Is(err, barrier.ErrCorrupt):
		// A reader of the secret learns which record it is.
	default:
		return err
	}
	return nil
}

// nameIndex finds names by the ids in the change feed. It belongs to track.
type nameIndex struct {
	feed    *Feed
	secrets map[store.ID]acl.Path      // by the id of the record
	folders map[store.ID]indexedFolder // by the id of the listing
	buckets map[store.ID]store.Key     // by the id of the listing
	// skipped are the damaged records, by key.
	skipped   map[store.Key]skipped
	lookAgain bool // at what was skipped
}

type indexedFolder struct {
	key      store.Key
	id, path string
}

// skipped is a record that is damaged, or a listing that cannot be read.
type skipped struct {
	read func(context.Context) error // reads it again
	// folder is the path of its folder. If it is not known, placed is false: the
	// record may be of a secret in any folder.
	folder string
	placed bool
}

func newNameIndex(f *Feed) *nameIndex {
	n := &nameIndex{
		feed: f, secrets: make(map[store.ID]acl.Path), skipped: make(map[store.Key]skipped),
		folders: make(map[store.ID]indexedFolder), buckets: make(map[store.ID]store.Key),
	}
	for i := range 256 {
		bucket := barrier.KeySecrets + "/" + hex.EncodeToString([]byte{byte(i)})
		n.buckets[store.ListingID(bucket)] = bucket
	}
	return n
}

// skips reports whether records were skipped that may be of secrets below a
// folder.
func (n *nameIndex) skips(folder acl.Path) bool {
	for _, s := range n.skipped {
		if !s.placed || below(folder, s.folder+"/") {
			return true
		}
	}
	return false
}

// skip notes the record at key, unless it is in order by now. Other errors than
// that of a damaged record are returned.
func (n *nameIndex) skip(key store.Key, err error, s skipped) error {
	delete(n.skipped, key)
	if !errors.Is(err, barrier.ErrCorrupt) {
		return err
	}
	if len(n.skipped) >= n.feed.tracker.maxNames {
		return ErrTooManyNames
	}
	n.skipped[key] = s
	return nil
}

// readAll reads the names of all secrets.
func (n *nameIndex) readAll(ctx context.Context) error {
	buckets, err := n.feed.barrier.Children(ctx, barrier.KeySecrets, store.Cached)
	if err != nil {
		return err
	}
	for _, bucket := range buckets.Names {
		if !barrier.IsBucket(bucket) {
			continue
		}
		if err := n.readBucket(ctx, barrier.KeySecrets+"/"+bucket); err != nil {
			return err
		}
	}
	return nil
}

// touched returns the secrets that the changes with these ids may concern. The
// record of a new secret and the listing with its name change together.
func (n *nameIndex) touched(ctx context.Context, ids map[store.ID]bool) (map[store.ID]acl.Path, error) {
	if n.lookAgain {
		n.lookAgain = false
		for _, s := range maps.Clone(n.skipped) {
			if err := s.read(ctx); err != nil {
				return nil, err
			}
		}
	}
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
	list, err := n.feed.barrier.Children(ctx, bucket, store.Cached)
	err = n.skip(bucket, err, skipped{read: func(ctx context.Context) error { return n.readBucket(ctx, bucket) }})
	if err != nil {
		return err
	}
	maps.DeleteFunc(n.skipped, func(key store.Key, _ skipped) bool { // removed meanwhile
		id, within := strings.CutPrefix(key, bucket+"/")
		return within && !strings.Contains(id, "/") && !slices.Contains(list.Names, id)
	})
	for _, id := range list.Names {
		key := bucket + "/" + id
		if _, known := n.folders[store.ListingID(key)]; known || !barrier.IsFolderKey(barrier.KeySecrets, key, id) {
			continue
		}
		if err := n.addFolder(ctx, key, id); err != nil {
			return err
		}
	}
	return nil
}

// addFolder adds a new folder and its secrets.
func (n *nameIndex) addFolder(ctx context.Context, key store.Key, id string) error {
	if len(n.folders) >= n.feed.tracker.maxNames {
		return ErrTooManyNames
	}
	path, err := n.feed.folders.Path(ctx, key, id, store.Cached)
	if errors.Is(err, store.ErrNotFound) {
		delete(n.skipped, key)
		return nil // removed meanwhile
	}
	damaged := err != nil
	err = n.skip(key, err, skipped{read: func(ctx context.Context) error { return n.addFolder(ctx, key, id) }})
	if err != nil || damaged {
		return err
	}
	f := indexedFolder{key: key, id: id, path: path}
	if err := n.readFolder(ctx, f); err != nil {
		return err
	}
	n.folders[store.ListingID(key)] = f // only when its secrets are known
	return nil
}

// readFolder adds the secrets of a folder that are new.
func (n *nameIndex) readFolder(ctx context.Context, f indexedFolder) error {
	again := skipped{read: func(ctx context.Context) error { return n.readFolder(ctx, f) }, folder: f.path, placed: true}
	list, err := n.feed.barrier.Children(ctx, f.key, store.Cached)
	if err := n.skip(f.key, err, again); err != nil {
		return err
	}
	var damaged error // one of the names
	err = n.feed.barrier.Use(func(k *barrier.Keys) error {
		for _, child := range list.Names {
			key := f.key + "/" + child
			id := store.RecordID(key)
			if _, known := n.secrets[id]; known || !barrier.IsSecretName(child) {
				continue
			}
			p, err := nameOf(k, f, child)
			if err != nil {
				damaged = barrier.Corrupt(key, err)
				continue
			}
			if len(n.secrets) >= n.feed.tracker.maxNames {
				return ErrTooManyNames
			}
			n.secrets[id] = p
		}
		return nil
	})
	if damaged != nil && err == nil {
		err = n.skip(f.key, damaged, again)
	}
	return err
}

// nameOf decrypts the name of a secret.
func nameOf(k *barrier.Keys, f indexedFolder, child string) (acl.Path, error) {
	name, err := k.OpenName(f.id, child)
	if err != nil {
		return acl.Path{}, err
	}
	return acl.ParsePath(f.path + "/" + name)
}
