package store

import "context"

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
