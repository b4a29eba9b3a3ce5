// Package rotation adds a data key to the keyring (a term) that new writes use
// at once, and then encrypts again all records that are under older terms.
//
// The keyring alone says whether work is left: as long as it has more than one
// term, some server works on it. The rotation record only says which server,
// and how far it is; only the progress that people see depends on it, because
// every re-encryption is conditional on the record that was read.
package rotation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"secretstore/seal/internal/barrier"
	"secretstore/seal/internal/names"
	"secretstore/seal/internal/records"
	"secretstore/store"
)

// Info is the progress of a rotation.
type Info struct {
	Term  uint32 // of new writes
	Total int64  // records seen by the present sweep
	Done  int64  // of them, under Term
	// Counting: Total and Done are not known yet.
	Counting bool
	State    string // one of the states below
	// Reason is why the rotation is Stuck, for people.
	Reason string
	// Terms is how many data keys the keyring has.
	Terms int
	// Damaged counts records that do not open under any key. While there are any,
	// older keys are kept: a record may be restored. DamagedRecord is the key of
	// one.
	Damaged       int64
	DamagedRecord string
}

// The states of a rotation.
const (
	Idle    = "idle"
	Running = "running"
	// Verifying: all records seemed to be under the newest key, and a last sweep
	// makes sure before the older keys are removed.
	Verifying = "verifying"
	// Stuck: it cannot finish until somebody has done something. It is tried again
	// every minute.
	Stuck = "stuck"
)

// progressRecord is read by people, and by servers that wait for their turn; a
// forged one only delays or repeats work.
type progressRecord struct {
	Format int    `json:"format"`
	Owner  string `json:"owner"` // the server that works on it
	Beat   uint64 `json:"beat"`  // grows while the owner works
	Term   uint32 `json:"term"`
	Total  int64  `json:"records_total"`
	Done   int64  `json:"records_done"`
	Verify bool   `json:"verify,omitempty"` // a sweep after a complete one
	// Damaged records, and the key of one of them.
	Damaged       int64  `json:"records_damaged,omitempty"`
	DamagedRecord string `json:"damaged_record,omitempty"`
	// Reason is why the last sweep has failed. Total and Done are then not known if
	// they are 0.
	Reason string `json:"reason,omitempty"`
}

// stuck returns why the rotation cannot finish, "" if it can.
func (r *progressRecord) stuck() string {
	if r.Reason == "" && r.Damaged > 0 {
		return (&damagedRecords{r.Damaged, r.DamagedRecord}).Error()
	}
	return r.Reason
}

const (
	recordFormat = 1
	// checkEvery is how often a server checks whether there is work.
	checkEvery = 500 * time.Millisecond
	// lease is how long another server may show no progress before its work is
	// taken over.
	lease = 10 * time.Second
	// stuckPause is the pause before the next sweep of a rotation that damaged
	// records keep from completing.
	stuckPause = time.Minute
	// failedPause is the pause after a sweep that ended with an error.
	failedPause = 5 * time.Second
	// stuckAfter is how long the storage may not answer a sweep before that counts
	// as stuck: it may be that it never answers this one request.
	stuckAfter = time.Minute
	// maxReason bounds the reason in the rotation record, in bytes.
	maxReason = 400
	// sweepRate bounds re-encryption, in records a second, so that the storage
	// stays fast for tasks that start meanwhile.
	sweepRate = 5000
	// sweepWorkers is how many records are processed at once.
	sweepWorkers = 32
)

// Config is what a Rotation is made of.
type Config struct {
	Backend     store.Backend
	Barrier     *barrier.Barrier
	Folders     *names.Folders
	Pieces      *records.Pieces
	Generations *records.Generations
	// ServerID is this server's, random for each start.
	ServerID string
	// TakeTurn keeps operations of the life cycle from running until give is
	// called. TakeFreshTurn also refreshes the state of the life cycle.
	TakeTurn, TakeFreshTurn func(context.Context) (give func(), err error)
	// CheckReleases refuses to change keys while servers of an earlier release
	// have the storage.
	CheckReleases func(context.Context) error
	Log           *zap.Logger
}

// Rotation rotates the data key.
type Rotation struct {
	config Config
	// compactDue: a rotation is done, but records under its old keys may still be
	// in the storage.
	compactDue atomic.Bool
	wake       chan struct{}          // asks run for a sweep; capacity 1
	failed     atomic.Pointer[string] // why this server cannot continue the rotation; nil if it can
}

// New returns a rotation. Run does the work.
func New(c Config) *Rotation { return &Rotation{config: c, wake: make(chan struct{}, 1)} }

// Wake makes r check at once whether there is work. It never blocks.
func Wake(r *Rotation) {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Rotate adds a data key, which new writes use from now on on every server, and
// leaves the re-encryption of existing records to the background. ErrSealed,
// ErrTooManyTerms, and the errors of Config.CheckReleases.
func (r *Rotation) Rotate(ctx context.Context) (Info, error) {
	if err := r.config.CheckReleases(ctx); err != nil {
		return Info{}, err
	}
	give, err := r.config.TakeFreshTurn(ctx)
	if err != nil {
		return Info{}, err
	}
	defer give()
	if err := r.writeKeyring(ctx, (*barrier.Keyring).WithNewTerm); err != nil {
		return Info{}, err
	}
	info := Info{State: Running, Counting: true}
	info.Term, info.Terms, err = r.terms()
	r.config.Log.Info("a new data key is in use", zap.Uint32("term", info.Term))
	return info, err
}

// terms returns the active term and how many there are.
func (r *Rotation) terms() (active uint32, count int, err error) {
	err = r.config.Barrier.Use(func(k *barrier.Keys) error {
		active, count = k.Ring.Active, len(k.Ring.Terms)
		return nil
	})
	return active, count, err
}

// writeKeyring replaces the keyring by what change makes of it. Writes of
// servers that do not know it yet fail at their check of its version, and are
// done again under it.
func (r *Rotation) writeKeyring(ctx context.Context, change func(*barrier.Keyring) (*barrier.Keyring, error)) error {
	var seen, next *barrier.Keys
	var ops []store.Op
	err := r.config.Barrier.Use(func(k *barrier.Keys) error {
		ring, err := change(k.Ring)
		if err != nil {
			return err
		}
		data, err := ring.Seal(k.Root, k.UUID)
		if err != nil {
			return err
		}
		revised := *k
		revised.Ring = ring
		seen, next = k, &revised
		ops = []store.Op{store.Check(barrier.KeyIntent, k.IntentVersion), store.Set(barrier.KeyKeyring, data, k.KeyringVersion)}
		return nil
	})
	if err != nil {
		return err
	}
	versions, err := r.config.Backend.Apply(ctx, ops...)
	var refused *store.OpError
	if errors.As(err, &refused) {
		return fmt.Errorf("another server has changed the keys at the same time; try again: %w", store.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", barrier.KeyKeyring, err)
	}
	next.KeyringVersion = versions[1]
	r.config.Barrier.Revise(seen, next)
	Wake(r)
	return nil
}

// RotationStatus returns the progress of the re-encryption, whichever server
// works on it. ErrSealed.
func (r *Rotation) RotationStatus(ctx context.Context) (Info, error) {
	info := Info{State: Idle}
	var err error
	if info.Term, info.Terms, err = r.terms(); err != nil {
		return Info{}, err
	}
	record, _, err := r.readProgress(ctx)
	if errors.Is(err, store.ErrUnusable) {
		record, err = progressRecord{Term: info.Term, Reason: err.Error()}, nil
	}
	if err != nil {
		return Info{}, err
	}
	if record.Term != info.Term {
		record = progressRecord{}
	}
	info.Total, info.Done = record.Total, record.Done
	info.Damaged, info.DamagedRecord = record.Damaged, record.DamagedRecord
	info.Reason = record.stuck()
	if failed := r.failed.Load(); failed != nil {
		info.Reason = *failed // this server knows best
	}
	unfinished := info.Terms > 1 || r.compactDue.Load()
	info.Counting = info.Terms > 1 && (record.Term == 0 || record.Total == 0 && record.Reason != "")
	switch {
	case !unfinished:
		info.Reason = ""
	case info.Reason != "":
		info.State = Stuck
	case info.Terms > 1 && record.Verify:
		info.State = Verifying
	default:
		info.State = Running
	}
	return info, nil
}

// StuckReason is the Reason of RotationStatus. It asks the storage only while
// there is a rotation, and returns "" if that does not answer.
func (r *Rotation) StuckReason(ctx context.Context) string {
	if _, terms, err := r.terms(); err != nil || terms < 2 && !r.compactDue.Load() {
		return ""
	}
	info, err := r.RotationStatus(ctx)
	if failed := r.failed.Load(); err != nil && failed != nil {
		return *failed
	}
	return info.Reason
}

// readProgress returns the rotation record; an absent or malformed one is
// empty.
func (r *Rotation) readProgress(ctx context.Context) (record progressRecord, version store.Version, err error) {
	node, err := r.config.Backend.Get(ctx, barrier.KeyRotation, store.Latest)
	if errors.Is(err, store.ErrNotFound) {
		return progressRecord{}, noVersion, nil
	}
	if err != nil {
		return progressRecord{}, 0, fmt.Errorf("read %s: %w", barrier.KeyRotation, err)
	}
	if json.Unmarshal(node.Data, &record) != nil || record.Format != recordFormat || record.Done < 0 || record.Total < 0 || !plain(record.Reason) || !plain(record.DamagedRecord) {
		record = progressRecord{}
	}
	return record, node.Version, nil
}

// plain accepts a text of limited length that is harmless on a terminal. Anybody
// who can write to the storage may have written it.
func plain(text string) bool {
	return len(text) <= max(maxReason, store.MaxKey) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// noVersion is the version of a record that does not exist.
const noVersion store.Version = -1

// writeProgress says that this server works, and how far it is. It fails with
// errNotOurTurn if another server has taken over.
func (r *Rotation) writeProgress(ctx context.Context, record progressRecord, seen store.Version) (store.Version, error) {
	record.Format, record.Owner = recordFormat, r.config.ServerID
	data, err := json.Marshal(record)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", barrier.KeyRotation, err)
	}
	op := store.Set(barrier.KeyRotation, data, seen)
	if seen == noVersion {
		op = store.Create(barrier.KeyRotation, data)
	}
	versions, err := r.config.Backend.Apply(ctx, op)
	var refused *store.OpError
	if errors.As(err, &refused) {
		return 0, errNotOurTurn
	}
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", barrier.KeyRotation, err)
	}
	return versions[0], nil
}

var errNotOurTurn = errors.New("another server is working on the rotation")
