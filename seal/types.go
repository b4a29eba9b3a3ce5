package seal

import (
	"context"
	"io"

	"secretstore/seal/internal/backup"
	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/feed"
	"secretstore/seal/internal/holders"
	"secretstore/seal/internal/lifecycle"
	"secretstore/seal/internal/mode"
	"secretstore/seal/internal/names"
	"secretstore/seal/internal/records"
	"secretstore/seal/internal/rotation"
	"secretstore/store"
)

// The types of secrets.
type (
	Secret      = records.Secret
	ReadOptions = records.Options
	Kind        = records.Kind
	Change      = records.Change
	Written     = records.Written
	Match       = records.Match
	Versions    = records.Versions
	VersionInfo = records.VersionInfo
	Whole       = records.Whole
	Value       = records.Value
	// DamagedRecord is an ErrCorrupt that names the record.
	DamagedRecord = barrier.DamagedRecord
	// Finding is what readers of many records have skipped.
	Finding = barrier.Finding
)

// The types of lists, watches and streams.
type (
	Page      = names.Page
	Names     = names.Names
	List      = names.List
	Search    = names.Search
	Found     = names.Found
	Child     = names.Child
	Children  = names.Children
	Watch     = feed.Watch
	Stream    = feed.Stream
	Event     = feed.Event
	EventKind = feed.EventKind
)

// The types of the life cycle and of rotations.
type (
	State        = lifecycle.State
	Status       = lifecycle.Status
	InitParams   = lifecycle.InitParams
	InitInfo     = lifecycle.InitInfo
	RekeyParams  = lifecycle.RekeyParams
	RekeyInfo    = lifecycle.RekeyInfo
	Holder       = holders.Holder
	Server       = lifecycle.Server
	Peer         = lifecycle.Peer
	Peers        = lifecycle.Peers
	LeftOutError = lifecycle.LeftOutError
	// OldServersError names the servers of an earlier release that share the storage.
	OldServersError = lifecycle.OldServersError
	RotationInfo    = rotation.Info
	Mode            = mode.Mode
	// LowerModeError: the security mode of this server is lower than the one that
	// the store remembers.
	LowerModeError = lifecycle.LowerModeError
	// RestoreError: the store stays sealed, because what it was restored from is not
	// to be trusted.
	RestoreError = lifecycle.RestoreError
)

// The types of backups.
type (
	BackupOptions  = backup.Options
	BackupManifest = backup.Manifest
	RestoreOptions = backup.RestoreOptions
	// Backup is a backup that is whole; see OpenBackup.
	Backup = backup.Backup
	// Move copies a store into another storage.
	Move = backup.Move
	// BackupCheck is a writer; see NewBackupCheck.
	BackupCheck = backup.Check
)

// CheckUnused returns ErrInUse if servers use a storage that several can have open.
func CheckUnused(ctx context.Context, b store.Backend) error { return backup.Unused(ctx, b) }

// AbandonRestore reports whether a storage has only what an unfinished restore or move
// has written. If so, no one can continue it, and the caller removes what it has
// written, but not KeyRestoring: while that is there, no server takes the storage for
// empty. The next restore replaces it.
func AbandonRestore(ctx context.Context, b store.Backend) (bool, error) {
	return backup.Abandon(ctx, b)
}

// NewBackupCheck passes a backup on to w, and checks its hash.
func NewBackupCheck(w io.Writer) *BackupCheck { return backup.NewCheck(w) }

// OpenBackup reads a backup of size bytes, and checks that it is whole. Anyone may
// have written it. ErrBadBackup.
func OpenBackup(file io.ReaderAt, size int64) (*Backup, error) { return backup.Open(file, size) }

// The states of a store as one server sees it.
const (
	StateUnknown       = lifecycle.StateUnknown
	StateUninitialized = lifecycle.StateUninitialized
	StateSealed        = lifecycle.StateSealed
	StateUnsealed      = lifecycle.StateUnsealed
	StateDamaged       = lifecycle.StateDamaged
)

// The security modes, the lowest first.
const (
	ModeDisabled   = mode.Disabled
	ModePermissive = mode.Permissive
	ModeStrict     = mode.Strict
)

// ParseMode returns the security mode with that name.
func ParseMode(word string) (Mode, error) { return mode.Parse(word) }

// The kinds of value, the limits of metadata, and how much is kept.
const (
	Text   = records.Text   // valid UTF-8, given as a JSON string
	Binary = records.Binary // any bytes, given as application/octet-stream

	MaxDescription = records.MaxDescription // bytes
	MaxLabels      = records.MaxLabels
	MaxLabel       = records.MaxLabel  // bytes, each
	MaxAuthor      = records.MaxAuthor // bytes

	// DefaultMaxSecretSize is the largest value in bytes if none is configured.
	DefaultMaxSecretSize = records.DefaultMaxSecretSize
	// DefaultKeepVersions is how many earlier values of a secret are kept if
	// nothing else is configured, and MaxKeepVersions the most that can be.
	DefaultKeepVersions = records.DefaultKeepVersions
	MaxKeepVersions     = records.MaxKeepVersions
	// MaxDeletedPage is how many names ListDeleted returns at most.
	MaxDeletedPage = 1000
	// UndeleteFor is how long a deleted secret can be undeleted.
	UndeleteFor = records.UndeleteFor
)

// The kinds of event.
const (
	EventChanged = feed.EventChanged // created, or has another value
	EventDeleted = feed.EventDeleted
	// EventResync: changes may have been missed; a reader that keeps anything
	// about the secrets reads all of them again.
	EventResync = feed.EventResync
	// EventIncomplete: damaged records are skipped, and changes of the secrets
	// that they belong to are not reported, until the next EventResync.
	EventIncomplete = feed.EventIncomplete
)

// The states of a rotation.
const (
	RotationIdle      = rotation.Idle
	RotationRunning   = rotation.Running
	RotationVerifying = rotation.Verifying // a last sweep makes sure that no record is left
	RotationStuck     = rotation.Stuck     // it cannot finish; RotationInfo.Reason says why
)
