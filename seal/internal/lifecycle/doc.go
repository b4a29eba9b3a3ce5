// Package lifecycle decides when a store is initialized, unsealed and sealed,
// and who holds its unseal key. It keeps this server in step with the
// life-cycle records of the storage, which other servers change too.
//
// It installs the keys in the barrier and drops them; it never looks at
// secrets.
//
// The records are read together, as a snapshot. A snapshot that would drop the
// keys, or that reports damage, is confirmed by a second one. One operation of
// the life cycle runs at a time (see machine.turn); reads and writes of secrets
// do not wait for it. Because all operations share the snapshot and the turn,
// they are in one package, although it has more than 2,000 lines.
//
// Decisions about keys are taken only from a config record that is genuine; see
// trust.go.
package lifecycle

import (
	"errors"
	"fmt"
	"time"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/bootstrapkey"
	"secretstore/seal/internal/holders"
)

// State is the state of a store as one server sees it.
type State int

const (
	// StateUnknown: the storage has not answered since the server started.
	// Everything is refused with store.ErrUnavailable.
	StateUnknown State = iota
	// StateUninitialized: the storage is empty; Init makes the keys.
	StateUninitialized
	// StateSealed: the store has keys, but they are not in memory.
	StateSealed
	// StateUnsealed: the keyring is in memory; secrets can be read.
	StateUnsealed
	// StateDamaged: the storage holds secrets but not the records that open
	// them, or another store than the one this server started with. Nothing
	// is served and nothing is initialized over it; see Status.Detail.
	StateDamaged
)

var stateNames = [...]string{"unknown", "uninitialized", "sealed", "unsealed", "damaged"}

// String returns the word for the state that people see.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		s = StateUnknown
	}
	return stateNames[s]
}

// Status is the seal status of this server.
type Status struct {
	State     State
	Unseals   uint64 // how often this server was unsealed so far
	UUID      string // of the store, made by Init; "" if there is none or it is not known
	Shares    int    // how many shares the unseal key was split into; 0 before Init
	Threshold int    // how many of them unseal; 0 before Init
	Progress  int    // how many were entered since the last attempt
	Detail    string // the reason if State is damaged or unknown; for operators
	// CreatingKey: the store is uninitialized because the bootstrap key is still
	// being created.
	CreatingKey bool
	// HoldsBootstrapKey: the storage holds a private key that unseals, so
	// auto-unseal works (and so would a thief of the storage).
	HoldsBootstrapKey bool
	// Restored is when the backup was made that the store was restored from; zero if
	// it never was, or while it is sealed.
	Restored time.Time
	// RestoreWarning says that a restored store did not have all of the backup when
	// this server first unsealed it, or that this was not checked.
	RestoreWarning string
	// SealWarning is why this server has sealed itself, or stays sealed, if people
	// have to know.
	SealWarning string
	// RestoreProblem is why the store stays sealed, if it was restored from what
	// cannot be trusted: an unseal of it is refused.
	RestoreProblem string
	// ConfigWarning is why the holders cannot be changed, if the record of who
	// they are is not genuine; "" if it is, or while it cannot be checked.
	ConfigWarning string
	// ModeProblem is why this server stays sealed: its security mode is lower than
	// the one that the store remembers. ModeWarning is what else is wrong with the
	// record of the mode, or seems to be.
	ModeProblem, ModeWarning string
	// Since is when this server came into State.
	Since time.Time
	// SealedBy is the uid of the user who sealed the store by hand, and SealedAt
	// when; empty while it is not sealed so, or if that is not known. Both are as
	// the storage has them, where anybody who can write to it may have put them.
	SealedBy string
	SealedAt time.Time
	// Outage is since when the storage has not answered this server; zero while
	// it does.
	Outage time.Time
}

// Initialized reports whether the store has keys.
func (s Status) Initialized() bool {
	return s.State == StateSealed || s.State == StateUnsealed || s.State == StateDamaged
}

// Sealed reports whether secrets are out of reach: in every state but unsealed.
func (s Status) Sealed() bool { return s.State != StateUnsealed }

// InitParams is what an operator asks of Init.
type InitParams struct {
	Shares    int
	Threshold int
	// PGPKeys are public keys, one for each share: base64 (with any white
	// space) of a binary or armored OpenPGP key.
	PGPKeys []string
	// Replace is the first wrapped key of an init that is to be replaced; "" for
	// a new store. See Initializer.Init. A rekey does not use it.
	Replace string
	// By is the uid of the principal who asks: only the same principal may
	// replace this init.
	By string
}

// InitInfo is what the holders need to unseal. It is not secret: each key is an
// OpenPGP message that only its holder opens.
type InitInfo struct {
	Initialized  bool
	Keys         []string // lower-case hex of the OpenPGP message
	Fingerprints []string // lower-case hex, of the primary key
}

func infoOf(h holders.Holding) InitInfo {
	return InitInfo{Initialized: true, Keys: h.Keys, Fingerprints: h.Fingerprints}
}

// The errors of package seal that concern the life cycle. It documents them.
var (
	ErrOtherRoot      = fmt.Errorf("%w: the root key is not the one that this server knows", barrier.ErrDamaged)
	ErrInitialized    = errors.New("the secret store is already initialized")
	ErrNotReplaceable = errors.New("this init cannot be replaced")
	ErrBadKey         = holders.ErrBadKey
	ErrWrongKey       = holders.ErrWrongKey
	ErrNoRekey        = errors.New("no such rekey is under way")
	ErrRekeyUnderWay  = errors.New("a rekey is already under way")
	ErrNotApproved    = errors.New("the present holders have not approved the rekey yet")
	ErrNoBootstrapKey = bootstrapkey.ErrNone
	ErrBadShares      = holders.ErrBadShares
	// ErrConfigNotGenuine: see Status.ConfigWarning.
	ErrConfigNotGenuine = errors.New("the record of the holders is not genuine")
	ErrSealNotRecorded  = errors.New("sealed here, not yet recorded")
)
