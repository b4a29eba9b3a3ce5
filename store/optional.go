package store

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// A Backend may also be one or more of the following. Callers find out by type
// assertion.

// Exclusive is a Backend that only one server at a time can have open. Nothing
// need be left in it for other servers.
type Exclusive interface {
	// Exclusive reports that no other process has the storage open.
	Exclusive() bool
}

// Compacter is a Backend whose storage keeps what was overwritten or deleted.
type Compacter interface {
	// Compact rewrites the storage so that only the current records are left.
	Compact(ctx context.Context) error
}

// ExposureReporter is a Backend whose records can be readable for others than
// the servers.
type ExposureReporter interface {
	// WorldReadable reports whether everyone who reaches the storage can read
	// the record. ErrNotFound, ErrUnavailable.
	WorldReadable(ctx context.Context, key Key) (bool, error)
}

// Announcer is a Backend that several servers can have open at once. Each tells
// the others what they have to know about it while it lives.
type Announcer interface {
	// Announce keeps the last of content as the announcement of the server id,
	// until ctx or the backend ends. It is not among the records, and ends with its
	// server: soon after the backend has lost the storage, nobody sees it. A backend
	// that comes back announces it again. The storage may keep a copy of what was
	// announced forever. id is 32 lower-case hex digits that no other process has,
	// content at most MaxAnnouncement bytes. The error is for an invalid id.
	Announce(ctx context.Context, id string, content <-chan []byte) error

	// Announcements returns the announcements, ordered by id: all that were made
	// before the call, unless they have ended. Anyone who can write to the storage
	// can make some. ErrTooManyAnnouncements, ErrUnavailable.
	Announcements(ctx context.Context) ([]Announcement, error)
}

// Announcement is what the server ID, or someone in its name, has announced.
type Announcement struct {
	ID   string
	Data []byte // nil if it cannot be read, or is longer than MaxAnnouncement
}

const (
	// MaxAnnouncement is the largest announcement in bytes.
	MaxAnnouncement = 2 << 10
	// MaxAnnouncements is how many servers can share a storage.
	MaxAnnouncements = 256
)

// ErrTooManyAnnouncements: there are more than MaxAnnouncements.
var ErrTooManyAnnouncements = errors.New("too many servers announce themselves in the storage")

// WriteReporter is a Backend that knows whether its storage takes writes.
type WriteReporter interface {
	// WriteFault returns why the last write failed, if the storage and not a
	// condition was the reason, and nil otherwise.
	WriteFault() error
}

// Snapshotter is a Backend that reads many records as they are at one moment.
type Snapshotter interface {
	// Snapshot calls emit, from one goroutine, with all records that s asks for, as
	// they are at one moment between the call and its return. A key may be emitted
	// several times: the last one counts, and no data means that there is no such
	// record. emit must not keep data. If emit fails, so does Snapshot, with its
	// error. ErrTooManyWrites, ErrUnusable, ErrUnavailable.
	Snapshot(ctx context.Context, s Snapshot, emit func(key Key, data []byte) error) error
}

// Snapshot says what a [Snapshotter] reads.
type Snapshot struct {
	// Below are keys: they, and the records below them, are read.
	Below []Key
	// Except are keys that are left out, with the records below them.
	Except []Key
	// Rate is how many records are read per second; 0 is any number.
	Rate int
	// Pause permits writes to be held back for a moment, on all servers, if records
	// still change after they were read SnapshotRounds times. Then they are
	// delayed; none fails for it.
	Pause bool
	// Again is called before records that have changed meanwhile are read again,
	// with how often that has been done. Nil is nothing.
	Again func(round int)
}

// Check refuses keys that no record has. ErrInvalidKey.
func (s *Snapshot) Check() error {
	for _, key := range slices.Concat(s.Below, s.Except) {
		if err := ValidKey(key); err != nil {
			return err
		}
	}
	return nil
}

// Covers reports whether s asks for the record under key.
func (s *Snapshot) Covers(key Key) bool { return at(s.Below, key) && !at(s.Except, key) }

// at reports whether key is one of keys, or below one.
func at(keys []Key, key Key) bool {
	return slices.ContainsFunc(keys, func(k Key) bool {
		rest, ok := strings.CutPrefix(key, k)
		return ok && (rest == "" || rest[0] == '/')
	})
}

// SnapshotRounds is how often a Snapshotter reads again what has changed, without
// Snapshot.Pause.
const SnapshotRounds = 8

// ErrTooManyWrites: the records kept changing while a Snapshotter read them.
var ErrTooManyWrites = errors.New("too many writes")
