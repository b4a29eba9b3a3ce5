// Package sessions remembers, on all servers of a store, which sessions of people
// were ended before their time. What it remembers is among the records of the
// identities: encrypted, authenticated, and in the memory of each server.
package sessions

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"secretstore/iam"
)

// maxEnded bounds the ended sessions of one user. Another one takes the place of the
// oldest: nobody can fill the memory of the servers, and users who sign out that
// often can only have sessions of their own forgotten.
const maxEnded = 100

// recordPrefix is what the names of the records begin with. It is followed by the user
// and the session.
const recordPrefix = "ended-session/"

// Authority keeps the records. See package authority.
type Authority interface {
	// Directory returns an error while records may not be used.
	Directory() (*iam.Directory, error)
	// Changed returns a channel that is closed when a record changes, and when the
	// store is sealed.
	Changed() <-chan struct{}
	// Records returns the records whose names begin with prefix.
	Records(prefix string) map[string][]byte
	// Lost reports whether there may have been a record of that name that could not
	// be read.
	Lost(name string) bool
	// UpdateRecords writes what f makes of these records, all or nothing. It calls f
	// again if another change came first.
	UpdateRecords(ctx context.Context, prefix string, f func(map[string][]byte) (put []iam.Record, remove []string, err error)) error
}

// Ended are the sessions that were ended. Its methods may be called concurrently.
type Ended struct {
	authority Authority
	now       func() time.Time
	known     atomic.Pointer[known]

	mu    sync.Mutex
	turns map[string]*turn // of the users whose sessions are being ended; guarded by mu
}

// turn is held by the one session of a user that is being ended.
type turn struct {
	held  chan struct{} // holds a value
	users int           // who hold it, or wait for it; guarded by Ended.mu
}

// known are the records at one moment.
type known struct {
	names map[string][]byte
	stale <-chan struct{} // closed when they have changed
}

// ErrLost means that records are damaged which may have said that a session was ended.
var ErrLost = errors.New("damaged records of the storage may have said that the session was ended")

// New returns the sessions that were ended, as the records of an authority say. now is
// the clock.
func New(a Authority, now func() time.Time) *Ended {
	return &Ended{authority: a, now: now, turns: make(map[string]*turn)}
}

// takeTurn waits until no other session of the user is being ended. All changes of the
// identities compete, and the loser begins again: one user with many sessions would keep
// superusers from revoking anything.
func (e *Ended) takeTurn(ctx context.Context, uid string) (give func(), err error) {
	e.mu.Lock()
	t := e.turns[uid]
	if t == nil {
		t = &turn{held: make(chan struct{}, 1)}
		e.turns[uid] = t
	}
	t.users++
	e.mu.Unlock()
	leave := func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(e.turns, uid)
		}
	}
	select {
	case t.held <- struct{}{}:
		return func() { <-t.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

func userPrefix(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return recordPrefix + hex.EncodeToString(sum[:16]) + "/"
}

// Has reports whether a session of a user was ended. The error says that this is not
// known now: the store is sealed, the records are not loaded yet, the storage has been
// away for too long, or records are damaged (ErrLost).
func (e *Ended) Has(uid, id string) (bool, error) {
	if _, err := e.authority.Directory(); err != nil {
		return false, err
	}
	name := userPrefix(uid) + id
	if _, ended := e.current().names[name]; ended {
		return true, nil
	}
	if e.authority.Lost(name) {
		return false, ErrLost
	}
	return false, nil
}

// current returns the records as they are now.
func (e *Ended) current() *known {
	if k := e.known.Load(); k != nil {
		select {
		case <-k.stale:
		default:
			return k
		}
	}
	k := &known{stale: e.authority.Changed()} // first: it must not miss a change
	k.names = e.authority.Records(recordPrefix)
	e.known.Store(k)
	return k
}

// End remembers until a time that a session of a user was ended.
func (e *Ended) End(ctx context.Context, uid, id string, until time.Time) error {
	give, err := e.takeTurn(ctx, uid)
	if err != nil {
		return err
	}
	defer give()
	now := e.now()
	prefix := userPrefix(uid)
	record := iam.Record{Name: prefix + id, Data: encode(now, until)}
	return e.authority.UpdateRecords(ctx, recordPrefix, func(all map[string][]byte) ([]iam.Record, []string, error) {
		var remove, own []string
		for name, data := range all {
			switch _, until := decode(data); {
			case now.After(until):
				remove = append(remove, name)
			case strings.HasPrefix(name, prefix) && name != record.Name:
				own = append(own, name)
			}
		}
		if spare := len(own) - (maxEnded - 1); spare > 0 {
			slices.SortFunc(own, func(a, b string) int {
				ended1, _ := decode(all[a])
				ended2, _ := decode(all[b])
				return cmp.Or(ended1.Compare(ended2), strings.Compare(a, b))
			})
			remove = append(remove, own[:spare]...)
		}
		// A change has room for so many records; the next one removes the rest.
		return []iam.Record{record}, remove[:min(len(remove), maxRemoved)], nil
	})
}

// maxRemoved bounds how many records one change removes.
const maxRemoved = 50

// encode returns the data of a record: when the session was ended, and until when
// that matters, in seconds since 1970.
func encode(ended, until time.Time) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(ended.Unix())), uint64(until.Unix()))
}

// decode reads the data of a record. What cannot be read matters for ever.
func decode(data []byte) (ended, until time.Time) {
	if len(data) != 16 {
		return time.Time{}, time.Unix(1<<40, 0)
	}
	return time.Unix(int64(binary.BigEndian.Uint64(data)), 0), time.Unix(int64(binary.BigEndian.Uint64(data[8:])), 0)
}
