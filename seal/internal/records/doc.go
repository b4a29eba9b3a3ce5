// Package records stores secrets: their values, earlier versions, metadata, and
// what a delete leaves until it expires. Large values are stored in pieces.
//
// A secret is one encrypted record, in a place that package barrier derives
// from its path. Every write is one transaction that is conditional on the
// record that was read, on the keys and on the seal intent; writes over
// existing records also check the delete generation (generation.go).
//
// It has more than 2,000 lines because values, versions, pieces and deleted secrets
// are all parts of that one record, and of the transactions that replace it.
package records

import (
	"errors"
	"fmt"
	"time"

	"secretstore/store"
)

// Kind is the form in which a value was stored. The zero value is refused.
type Kind uint8

// The kinds of value.
const (
	Text   Kind = 1 // valid UTF-8, given as a JSON string
	Binary Kind = 2 // any bytes, given as application/octet-stream
)

// The limits of metadata.
const (
	MaxDescription = 4096 // bytes
	MaxLabels      = 64
	MaxLabel       = 256 // bytes, each
	MaxAuthor      = 256 // bytes
)

// DefaultMaxSecretSize is the largest value in bytes if none is configured.
const DefaultMaxSecretSize = 1 << 20

// Secret is one secret in plaintext. It lives for one request.
type Secret struct {
	Kind        Kind
	Value       []byte
	Description string // "" if none
	Labels      []string
	Author      string    // uid of the principal that created it
	Created     time.Time // of the secret; UTC
	Written     time.Time // of this value; UTC, zero if not known
	// ID is the value id, 32 lower-case hex digits: new for each write.
	ID string
	// Version counts the values written under this path since its creation,
	// from 1.
	Version uint64
	// Age is how long ago the storage last confirmed this answer; zero while the
	// storage is in reach.
	Age time.Duration
}

// Written names a value that was written or restored.
type Written struct {
	ID      string // as in Secret
	Version uint64 // as in Secret
}

// Change is what a create or an update writes.
type Change struct {
	Kind  Kind
	Value []byte
	// Description and Labels stay as they were if nil.
	Description *string
	Labels      *[]string
	// Author is the uid that writes; only Create records it.
	Author string
	// If is checked by an update; a create replaces nothing.
	If Match
}

// Match decides about the value that a write would replace or delete, given its
// value id: false refuses the write with ErrChanged. The write is conditional
// on that very value; if somebody else writes first, Match is called again. Nil
// accepts every value.
type Match func(id string) bool

// The errors of package seal that concern secrets. It documents them.
var (
	ErrNotFound       = errors.New("secret does not exist")
	ErrExists         = errors.New("secret already exists")
	ErrChanged        = errors.New("secret was changed meanwhile")
	ErrTooLarge       = errors.New("secret value too large")
	ErrCurrentVersion = errors.New("the current version cannot be removed alone")
	ErrBadMetadata    = errors.New("description or labels too large")
	ErrBadHistory     = errors.New("versions or times that no secret has")
	// ErrPiecesLeft: see Secrets.Purge.
	ErrPiecesLeft = fmt.Errorf("the secret is gone, but pieces of its value may be left: %w", store.ErrOutcomeUnknown)
)
