package seal

import (
	"secretstore/seal/internal/backup"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/feed"
	"secretstore/seal/internal/lifecycle"
	"secretstore/seal/internal/records"
	"secretstore/seal/internal/uses"
)

// The errors that callers branch on. Besides these, operations return the store
// package's ErrUnavailable and ErrOutcomeUnknown, wrapped.
var (
	ErrSealed        = barrier.ErrSealed
	ErrUninitialized = barrier.ErrUninitialized
	// ErrCreatingKey: the store will be initialized once the bootstrap key is
	// made. It also is ErrUninitialized.
	ErrCreatingKey = barrier.ErrCreatingKey
	// ErrDamaged: the storage does not hold the records of this store.
	ErrDamaged = barrier.ErrDamaged
	// ErrOtherRoot: the storage holds the store under another root key than this
	// server knows. It also is ErrDamaged.
	ErrOtherRoot = lifecycle.ErrOtherRoot
	// ErrInitialized: Init on a store that has keys, or had.
	ErrInitialized = lifecycle.ErrInitialized
	// ErrNotReplaceable: InitParams.Replace does not name an init that can be
	// replaced.
	ErrNotReplaceable = lifecycle.ErrNotReplaceable
	// ErrBadKey: the text is not an unseal key or a share of one.
	ErrBadKey = lifecycle.ErrBadKey
	// ErrWrongKey: a well-formed unseal key, or share, of another store.
	ErrWrongKey = lifecycle.ErrWrongKey
	// ErrNoRekey: no rekey is under way, or another than was named.
	ErrNoRekey = lifecycle.ErrNoRekey
	// ErrRekeyUnderWay: one rekey at a time.
	ErrRekeyUnderWay = lifecycle.ErrRekeyUnderWay
	// ErrNotApproved: the holders of the present unseal key have to approve the
	// rekey before the new ones can verify it.
	ErrNotApproved = lifecycle.ErrNotApproved
	// ErrTooManyTerms: older data keys have to be removed before another is added.
	ErrTooManyTerms = barrier.ErrTooManyTerms
	// ErrNoBootstrapKey: AutoUnseal without a private key in the storage.
	ErrNoBootstrapKey = lifecycle.ErrNoBootstrapKey
	// ErrBadShares: a combination of shares, threshold and keys that Init refuses.
	ErrBadShares = lifecycle.ErrBadShares
	// ErrConfigNotGenuine: the record of who holds the unseal key carries no MAC
	// of this store, or is an old one. Status.ConfigWarning says what to do.
	ErrConfigNotGenuine = lifecycle.ErrConfigNotGenuine
	// ErrSealNotRecorded: this server has dropped the keys, but could not record
	// the intent yet; it keeps retrying.
	ErrSealNotRecorded = lifecycle.ErrSealNotRecorded
	// ErrKeysChanged: the keys were replaced while a backup was made.
	ErrKeysChanged = backup.ErrKeysChanged
	// ErrBadBackup: a file that is not a complete backup.
	ErrBadBackup = backup.ErrDamaged
	// ErrInUse and ErrNoStore: why a store is not moved.
	ErrInUse   = backup.ErrInUse
	ErrNoStore = backup.ErrNoStore
	// ErrNotEmpty: a backup is restored into storage that has records.
	ErrNotEmpty = backup.ErrNotEmpty
	// ErrUnfinished: they are those of another restore or a move, which was
	// interrupted. It also matches ErrNotEmpty.
	ErrUnfinished = backup.ErrUnfinished
	ErrNotFound   = records.ErrNotFound
	ErrExists     = records.ErrExists
	// ErrChanged: the Match of a write refused the present value.
	ErrChanged  = records.ErrChanged
	ErrTooLarge = records.ErrTooLarge
	// ErrCurrentVersion: DeleteVersion of the one that Get returns.
	ErrCurrentVersion = records.ErrCurrentVersion
	// ErrPiecesLeft: a purge has removed the secret, but the pieces of its value may
	// still be in the storage, until the server can remove them. It matches
	// store.ErrOutcomeUnknown.
	ErrPiecesLeft = records.ErrPiecesLeft
	// ErrBadMetadata: a description or label beyond the limits.
	ErrBadMetadata = records.ErrBadMetadata
	// ErrBadHistory: versions that are not in descending order, or times in the future.
	ErrBadHistory = records.ErrBadHistory
	// ErrCorrupt: a record that does not authenticate: damaged, moved, or not
	// written by this store. The error's text names the record; see DamagedRecord.
	ErrCorrupt = barrier.ErrCorrupt
	// ErrTooManyNames: there are more secrets than a stream can follow by name.
	ErrTooManyNames = feed.ErrTooManyNames
	// ErrTaskSpent: the task token was used as often as it may be.
	ErrTaskSpent = uses.ErrSpent
	// ErrTaskTerm: the term that a task token claims has been removed from the
	// keyring, or never was in it.
	ErrTaskTerm = uses.ErrTerm
	// ErrTaskTermAhead: the term that a task token claims is newer than this
	// server's keyring, and so is the keyring in the storage: another server has
	// rotated a moment ago, and this one is about to learn of it. It matches
	// store.ErrUnavailable.
	ErrTaskTermAhead = uses.ErrTermAhead
)
