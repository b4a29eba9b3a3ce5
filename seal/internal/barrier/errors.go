package barrier

import (
	"errors"
	"fmt"

	"secretstore/seal/envelope"
	"secretstore/store"
)

// The errors of package seal that concern the keys. It documents them.
var (
	ErrSealed        = errors.New("the secret store is sealed")
	ErrUninitialized = errors.New("the secret store is not initialized")
	// ErrCreatingKey: the store will be initialized once the bootstrap key is
	// made. It also is ErrUninitialized.
	ErrCreatingKey  = fmt.Errorf("%w yet: the bootstrap key is being created", ErrUninitialized)
	ErrDamaged      = errors.New("the storage of the secret store is damaged")
	ErrCorrupt      = errors.New("damaged record")
	ErrTooManyTerms = errors.New("too many rotations are under way")
)

// ErrReadAgain means that a record contradicts what this server knows of the
// keys. A fresh snapshot of the life cycle settles it; see Barrier.Settle.
var ErrReadAgain = errors.New("the keys may have changed")

// ErrUnknownTerm means that a record claims a term that is not in the keyring.
// Either another server has rotated, and a fresh snapshot has the term, or the
// claim is forged. It matches ErrReadAgain.
var ErrUnknownTerm = fmt.Errorf("%w: a term that is not in the keyring", ErrReadAgain)

// ErrOutdated means that a record is genuine, or may be, but another one belongs in
// its place.
var ErrOutdated = errors.New("another record belongs there")

// unknownTerm is an ErrUnknownTerm of one record.
type unknownTerm struct{ key store.Key }

func (e *unknownTerm) Error() string { return e.key + ": " + ErrUnknownTerm.Error() }

func (e *unknownTerm) Unwrap() error { return ErrUnknownTerm }

// DamagedRecord says which record of the storage does not open. It matches
// ErrCorrupt. Keys of records contain no names in the clear, so they may be
// shown.
type DamagedRecord struct {
	Key   store.Key
	cause error
}

// Error names the record, and the reason where it helps.
func (e *DamagedRecord) Error() string {
	text := ErrCorrupt.Error() + ": " + e.Key
	if errors.Is(e.cause, envelope.ErrNewerFormat) || errors.Is(e.cause, store.ErrUnusable) {
		text += ": " + e.Reason()
	}
	return text
}

// Reason returns in a few words what is wrong with the record.
func (e *DamagedRecord) Reason() string {
	switch {
	case errors.Is(e.cause, envelope.ErrNewerFormat):
		return e.cause.Error()
	case errors.Is(e.cause, store.ErrUnusable):
		return "the storage does not let this server use it"
	case errors.Is(e.cause, store.ErrNotFound):
		return "it has no record"
	case errors.Is(e.cause, ErrOutdated):
		return "it is not the one that was written last"
	case errors.Is(e.cause, ErrBadName):
		return "its name does not authenticate"
	case errors.Is(e.cause, store.ErrNotEmpty):
		return "there are other records below it"
	}
	return "it does not open"
}

// Unwrap returns ErrCorrupt.
func (e *DamagedRecord) Unwrap() error { return ErrCorrupt }

// Corrupt returns the error for a record that does not open. The cause is shown
// only where it helps: it could quote plaintext.
func Corrupt(key store.Key, cause error) error { return &DamagedRecord{Key: key, cause: cause} }

// ReadError returns the error for a record that could not be read: ErrCorrupt
// if it alone is concerned, and not the storage. It is nil for nil.
func ReadError(key store.Key, cause error) error {
	if cause == nil {
		return nil
	}
	if errors.Is(cause, store.ErrUnusable) {
		return Corrupt(key, cause)
	}
	return fmt.Errorf("read %s: %w", key, cause)
}
