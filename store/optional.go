package store

import (
	"context"
	"errors"
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
	// until ctx or the backend ends. It is in none of the records, and ends with
	// its server: soon after the backend has lost the storage, nobody sees it. A
	// backend that comes back announces it again. Of what is written before ctx
	// ends the storage may keep a copy forever. id is 32 lower-case hex digits that
	// no other process has, content at most MaxAnnouncement bytes. The error is for
	// an invalid id.
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
