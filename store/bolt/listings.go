package bolt

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"

	"secretstore/store"
)

// listings says which listings have changed. Make it with newListings.
//
// Listings share flags, by the hash of their key: a change of one may also set the
// flag of some others, which are then read again.
type listings struct {
	seed  maphash.Seed
	flags [1024]atomic.Pointer[atomic.Bool]
}

func newListings() *listings {
	l := &listings{seed: maphash.MakeSeed()}
	for i := range l.flags {
		l.flags[i].Store(new(atomic.Bool))
	}
	return l
}

func (l *listings) at(key store.Key) *atomic.Pointer[atomic.Bool] {
	return &l.flags[maphash.String(l.seed, key)%uint64(len(l.flags))]
}

// flag returns the flag of a listing that is read after this call.
func (l *listings) flag(key store.Key) *atomic.Bool { return l.at(key).Load() }

// changed sets the flags of listings, after the change can be read.
func (l *listings) changed(keys []store.Key) {
	for _, key := range keys {
		l.at(key).Swap(new(atomic.Bool)).Store(true)
	}
}

// changedAll sets all flags.
func (l *listings) changedAll() {
	for i := range l.flags {
		l.flags[i].Swap(new(atomic.Bool)).Store(true)
	}
}

// appendListings appends the keys whose listings a record changes that was made or
// deleted. They end with the first that is a record itself: the name of that is in its
// own listing in any case. If it was made or deleted in the same transaction, that
// operation has changed its listing.
func appendListings(to []store.Key, records *bbolt.Bucket, key store.Key) []store.Key {
	for key != "" {
		key = key[:max(0, strings.LastIndexByte(key, '/'))]
		to = append(to, key)
		if records.Get([]byte(key)) != nil {
			break
		}
	}
	return to
}
