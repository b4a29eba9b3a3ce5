package iam

import (
	"context"
	"errors"
)

// The bounds of one record, in bytes.
const (
	MaxRecordName  = 1200
	MaxRecordBytes = 832 << 10
)

// Errors of a [Storage]. Others mean that the store is sealed or that its backend
// is not available; they are passed on as they are.
var (
	// ErrConflict means that another change came first: look at the directory
	// again, and decide again.
	ErrConflict = errors.New("the identities have changed meanwhile")
	// ErrNotLoaded means that the store has been unsealed, and the records are
	// still being read.
	ErrNotLoaded = errors.New("the identities are not loaded yet")
)

// UsedPrefix begins the names of the records of when accounts were last used. They
// are left out of backups.
const UsedPrefix = "used/"

// Record is one record of the identities, decrypted.
type Record struct {
	// Name distinguishes all records; 1 to [MaxRecordName] bytes. In the storage
	// it cannot be read.
	Name string
	Data []byte // never modified
}

// Storage keeps the records of the identities, encrypted and authenticated. All of
// them are in the memory of each server while it is unsealed.
type Storage interface {
	// Follow calls l for what is in the storage, now and from now on: one call at a
	// time, in the order of the changes. It is called once, before the store
	// is unsealed.
	Follow(l Listener)
	// Check returns nil while what l was told may be used: the store is unsealed,
	// the records are loaded, and the backend has confirmed them within the time
	// that operators allow. It is cheap enough for every decision.
	Check() error
	// Apply writes put and removes the records named by remove, all or nothing, if
	// the last call of the listener was for the change number base, and no other
	// server has written since: otherwise it returns [ErrConflict] once the
	// listener knows the other change. When it returns nil, the listener was called
	// for this change. An error that matches store.ErrOutcomeUnknown says that it
	// may have been written.
	Apply(ctx context.Context, base uint64, put []Record, remove []string) error
}

// Listener learns what records there are.
type Listener interface {
	// Load says that all are exactly the records, as of change number at. damaged
	// is how many others could not be read; they count as absent.
	Load(at uint64, all []Record, damaged int)
	// Change says that put were added or replaced, and removed are gone. damaged is
	// how many records are damaged now.
	Change(at uint64, put []Record, removed []string, damaged int)
	// Forget says that the store was sealed. Nothing of the records may stay in
	// memory.
	Forget()
}
