// Package seal keeps the secrets of one store behind a barrier: a value goes
// in as bytes and reaches the storage only as AES-256-GCM ciphertext, and only
// while the keyring is in memory. Sealing drops the keyring; unsealing needs
// the unseal key, which exists outside this process only as an OpenPGP message
// for its holder.
//
// It decides nothing about who may do what (package acl) and knows no HTTP
// (package api). It is the only caller of package store besides the wiring.
//
// The keys, outermost first:
//
//	unseal key   32 bytes; wrapped with OpenPGP; forgotten once used
//	root key     encrypted under the unseal key; in memory while unsealed
//	keyring      encrypted under the root key: name keys and one data key a term
//	record key   derived for each record from the data key of its term
package seal

import (
	"errors"
	"fmt"
	"time"
)

// State is what a store can be in, as one server sees it.
type State int

const (
	// StateUnknown: the storage has not answered since the server started.
	// Everything is refused with store.ErrUnavailable.
	StateUnknown State = iota
	// StateUninitialized: the storage is empty; Init makes the keys.
	StateUninitialized
	// StateSealed: there are keys, none of them in memory.
	StateSealed
	// StateUnsealed: the keyring is in memory; secrets can be read.
	StateUnsealed
	// StateDamaged: the storage holds secrets but not the records that open
	// them, or another store than the one this server started with. Nothing
	// is served and nothing is initialised over it; see Status.Detail.
	StateDamaged
)

// String returns the word for the state that people see.
func (s State) String() string {
	switch s {
	case StateUninitialized:
		return "uninitialized"
	case StateSealed:
		return "sealed"
	case StateUnsealed:
		return "unsealed"
	case StateDamaged:
		return "damaged"
	default:
		return "unknown"
	}
}

// Status is the seal status of this server.
type Status struct {
	State     State
	UUID      string // of the store, made by Init; "" while there is none or it is not known
	Shares    int    // how many shares the unseal key was split into; 0 before Init
	Threshold int    // how many of them unseal; 0 before Init
	Progress  int    // how many were entered since the last attempt
	Detail    string // why, where State is damaged or unknown; for operators
	// HoldsBootstrapKey: the storage holds a private key that unseals, so
	// auto-unseal works (and so would a thief of the storage).
	HoldsBootstrapKey bool
}

// Initialized reports whether the store has keys.
func (s Status) Initialized() bool {
	return s.State == StateSealed || s.State == StateUnsealed || s.State == StateDamaged
}

// Sealed reports whether secrets are out of reach: everything but unsealed.
func (s Status) Sealed() bool { return s.State != StateUnsealed }

// The errors that callers branch on. Besides these, operations return the
// store package's ErrUnavailable and ErrOutcomeUnknown, wrapped.
var (
	ErrSealed        = errors.New("the secret store is sealed")
	ErrUninitialized = errors.New("the secret store is not initialized")
	ErrDamaged       = errors.New("the storage of the secret store is damaged")
	// ErrOtherRoot: the storage holds the store under another root key than this
	// server has known. It also is ErrDamaged.
	ErrOtherRoot = fmt.Errorf("%w: the root key is not the one that this server has known", ErrDamaged)
	// ErrInitialized: Init on a store that has keys, or had.
	ErrInitialized = errors.New("the secret store is already initialized")
	// ErrNotReplaceable: InitParams.Replace names no init that can be done over.
	ErrNotReplaceable = errors.New("this init cannot be done over")
	// ErrBadKey: what was given cannot be an unseal key or a share of one.
	ErrBadKey = errors.New("not an unseal key: give the hex digits that gpg prints")
	// ErrWrongKey: a well-formed unseal key, or share, that is not this store's.
	ErrWrongKey = errors.New("wrong unseal key")
	// ErrNoRekey: no rekey is under way, or another than was named.
	ErrNoRekey = errors.New("no such rekey is under way")
	// ErrRekeyUnderWay: one rekey at a time.
	ErrRekeyUnderWay = errors.New("a rekey is already under way")
	// ErrTooManyTerms: older data keys have to leave before another is added.
	ErrTooManyTerms = errors.New("too many rotations are under way")
	// ErrNoBootstrapKey: AutoUnseal where the storage holds no private key.
	ErrNoBootstrapKey = errors.New("no bootstrap key is held for this store")
	// ErrBadShares: a combination of shares, threshold and keys that Init
	// does not take.
	ErrBadShares = errors.New("unsupported shares or threshold")
	// ErrSealNotRecorded: the keys are gone from this server, but the intent
	// could not be written yet; the server goes on trying.
	ErrSealNotRecorded = errors.New("sealed here, not yet recorded")
	ErrNotFound        = errors.New("secret does not exist")
	ErrExists          = errors.New("secret already exists")
	// ErrChanged: the secret is not as the Match of a write demands.
	ErrChanged  = errors.New("secret was changed meanwhile")
	ErrTooLarge = errors.New("secret value too large")
	// ErrCurrentVersion: DeleteVersion of the one that Get returns.
	ErrCurrentVersion = errors.New("the current version cannot be removed alone")
	// ErrBadMetadata: a description or label beyond the limits below.
	ErrBadMetadata = errors.New("description or labels too large")
	// ErrCorrupt: a record that does not authenticate: damaged, moved, or not
	// written by this store. The error's text names the record.
	ErrCorrupt = errors.New("damaged record")
)

// The limits of metadata.
const (
	MaxDescription = 4096 // bytes
	MaxLabels      = 64
	MaxLabel       = 256 // bytes, each
	MaxAuthor      = 256 // bytes
)

// Kind is the form in which a value was stored. The zero value is refused.
type Kind uint8

// The kinds of value.
const (
	Text   Kind = 1 // valid UTF-8, given as a JSON string
	Binary Kind = 2 // any bytes, given as application/octet-stream
)

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
	// Age is how long ago the storage last stood behind this answer; zero
	// while the storage is in reach.
	Age time.Duration
}

// Change is what a create or an update writes.
type Change struct {
	Kind  Kind
	Value []byte
	// Description and Labels are kept as they were where nil.
	Description *string
	Labels      *[]string
	// Author is the uid that writes; it is recorded by Create alone.
	Author string
	// If is asked by an update; a create replaces nothing.
	If Match
}

// Match decides about the value that a write would replace or delete, known by
// its value id: false refuses the write with ErrChanged. It is asked about the
// very value that the write is conditional on, and asked again when somebody
// else was first. Nil lets every write through.
type Match func(id string) bool

// InitParams are the wishes of the operator who initialises the store.
type InitParams struct {
	Shares    int
	Threshold int
	// PGPKeys are public keys, one for each share: base64 (with any white
	// space) of a binary or armored OpenPGP key.
	PGPKeys []string
	// Replace is the first of the wrapped keys of an init that is to be done
	// over, see replace.go; "" for a new store. RekeyParams has no use for it.
	Replace string
	// By is the uid of the principal who asks: nobody else does its init over.
	By string
}

// InitInfo is what anybody needs who wants to unseal: it is not secret, for
// each key is an OpenPGP message that only its holder opens.
type InitInfo struct {
	Initialized  bool
	Keys         []string // lower-case hex of the OpenPGP message
	Fingerprints []string // lower-case hex, of the primary key
}

// Page selects a part of a list.
type Page struct {
	After string // names greater than this one, bytewise; "" from the start
	Limit int    // at most so many names; 0 is all
}

// Names is a list of secrets, or a page of one.
type Names struct {
	Names []string // sorted bytewise, relative to the listed folder; never nil
	Next  string   // the After of the next page; "" if this was the last
	Age   time.Duration
}
