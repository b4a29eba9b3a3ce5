// Package store defines what the Secret Store asks of its storage: opaque
// bytes under keys, conditional writes, atomic transactions, and notification of
// changes. It knows neither policy nor plaintext. Anyone who can write to the
// storage counts as an attacker, so callers do not trust what they read here
// until they have authenticated it.
//
// store/storetest checks that the backends (store/bolt, store/zk, store/memory)
// keep one contract.
package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Key names a record: one or more components joined by "/", without a leading
// or trailing slash. A component is 1 to 400 bytes of [A-Za-z0-9._-] and is
// neither "." nor ".."; a whole key is at most 1,024 bytes. Callers build keys
// from encrypted names, never from user input.
type Key = string

// Version is the state of one record, as seen by a read or left by a write. It
// changes with every write of the record. Versions before and after a deletion
// cannot be compared: ZooKeeper starts again at 0 when a znode is made again.
type Version int64

// MaxData is the largest record in bytes. A ZooKeeper server at its default
// jute.maxbuffer drops the whole connection on a request of more than
// 1,048,575 bytes, path and ACL included, so the size is checked before anything
// is sent. MaxTransaction bounds the sum over the operations of one Apply.
const (
	MaxData        = 840 << 10
	MaxTransaction = 900 << 10
)

// Consistency is what a read asks for.
type Consistency int

const (
	// Cached permits an answer from memory: normally milliseconds old, and
	// with an Age once the storage is known to be out of reach.
	Cached Consistency = iota
	// Latest is linearizable: it sees every write that was acknowledged by
	// any server before the read began.
	Latest
)

// Revision is a write's position in the storage's total order of writes
// (ZooKeeper's zxid). It is not a timestamp. A greater one is a later write, also
// across a deletion; operations of one transaction may share one.
type Revision int64

// Node is one record as it was read. Data belongs to the backend: callers do
// not modify it.
type Node struct {
	Data    []byte
	Version Version
	// Revision is that of the last write of the record. Zero if the backend
	// does not report it.
	Revision Revision
	// Age is zero while the storage is in reach. Otherwise it is how long ago
	// the answer was certainly right.
	Age time.Duration
}

// Listing is the last components of the keys directly below a key, in no
// particular order. Names belongs to the backend: callers do not modify it.
type Listing struct {
	Names []string
	// Foreign is how many names were left out because no Key has them: others
	// have made them.
	Foreign int
	Age     time.Duration // as in Node
	// Changed is set once Children with Cached might answer differently, before
	// this backend acknowledges the write that changed the listing. Nil if the
	// backend does not report it. It does not say whether the storage is in reach.
	Changed *atomic.Bool
}

// Current reports that Children with Cached would list the same names.
func (l *Listing) Current() bool { return l.Changed != nil && !l.Changed.Load() }

// The errors that callers branch on. All others are failures of the storage
// itself, which clients see as internal errors.
var (
	// ErrNotFound: no such record. A key that only has children is not a record.
	ErrNotFound = errors.New("no such record")
	// ErrExists: Create found a record under the key.
	ErrExists = errors.New("record exists")
	// ErrConflict: the record is at another version than the operation demands
	// (an absent record is ErrNotFound instead).
	ErrConflict = errors.New("record has changed")
	// ErrNotEmpty: a key that has children cannot be deleted.
	ErrNotEmpty = errors.New("record has children")
	// ErrTooLarge: MaxData or MaxTransaction was exceeded; nothing was sent.
	ErrTooLarge = errors.New("record or transaction too large")
	// ErrUnusable: the storage does not let this server use the record (an ACL
	// forbids it), or what it holds under the key is not a record. It concerns this
	// record alone: others can be read and written.
	ErrUnusable = errors.New("record cannot be used")
	// ErrUnavailable: the storage did not answer in time or is out of reach.
	// A write that failed with it had no effect and never will have one.
	ErrUnavailable = errors.New("storage unavailable")
	// ErrNoWrites: the storage answers, but does not take the write, which had no
	// effect. It also matches ErrUnavailable.
	ErrNoWrites = fmt.Errorf("the storage takes no writes: %w", ErrUnavailable)
	// ErrFull: there is no room for the write. It also matches ErrNoWrites.
	ErrFull = fmt.Errorf("the disk of the storage is full: %w", ErrNoWrites)
	// ErrOutcomeUnknown: a write was sent, and before the deadline it was not
	// possible to find out whether it took effect. It also matches ErrUnavailable.
	ErrOutcomeUnknown = fmt.Errorf("outcome of the write unknown: %w", ErrUnavailable)
)

// OpError says which operation of a transaction was refused, and why (one of
// the errors above, found with errors.Is). No operation of the transaction has
// taken effect.
type OpError struct {
	Index int // into the ops given to Apply
	Key   Key
	Err   error
}

func (e *OpError) Error() string { return fmt.Sprintf("%s: %v", e.Key, e.Err) }

// Unwrap returns the reason.
func (e *OpError) Unwrap() error { return e.Err }

// OpKind is what an Op does. The zero value is refused.
type OpKind int

// The kinds of operation, made by the functions of the same names.
const (
	OpCheck OpKind = iota + 1
	OpCreate
	OpEnsure
	OpSet
	OpDelete
	OpBump
)

// Op is one operation of a transaction. Make it with Check, Create, Ensure,
// Set, Delete or Bump.
type Op struct {
	Kind    OpKind
	Key     Key
	Data    []byte
	Version Version
	// Quiet says that the record means the same as before, for example because it
	// was only encrypted again. Backend.Changes does not report it.
	Quiet bool
}

// Check demands that key is at version v.
func Check(key Key, v Version) Op { return Op{Kind: OpCheck, Key: key, Version: v} }

// Create makes a record that must not exist yet. Data must not be empty.
// Parents need not exist.
func Create(key Key, data []byte) Op { return Op{Kind: OpCreate, Key: key, Data: data} }

// Ensure makes a record unless it exists already, with whatever data.
func Ensure(key Key, data []byte) Op { return Op{Kind: OpEnsure, Key: key, Data: data} }

// Set replaces the record, which must be at version v. Data must not be empty.
func Set(key Key, data []byte, v Version) Op {
	return Op{Kind: OpSet, Key: key, Data: data, Version: v}
}

// Bump makes a record, or replaces it whatever its version: afterwards it has
// another version. It is for records whose version says that something has happened.
// If several transactions do it at the same time, each sees the version changed, but
// it may have changed only once.
func Bump(key Key, data []byte) Op { return Op{Kind: OpBump, Key: key, Data: data} }

// Delete removes the record, which must be at version v and have no children.
func Delete(key Key, v Version) Op { return Op{Kind: OpDelete, Key: key, Version: v} }

// Backend is one storage. Its methods may be called from many goroutines, and
// every one returns by the deadline of its context, with an error that matches
// ErrUnavailable if the storage did not answer by then.
type Backend interface {
	// Get reads one record. ErrNotFound, ErrUnusable, ErrUnavailable.
	Get(ctx context.Context, key Key, c Consistency) (Node, error)

	// Children lists the keys directly below key; none is an empty Listing,
	// not an error. The empty key is the root of the storage. ErrUnusable,
	// ErrUnavailable.
	Children(ctx context.Context, key Key, c Consistency) (Listing, error)

	// Apply does all operations, in order, or none. It returns the version
	// that each operation left (unspecified for Check, Bump and an Ensure that found
	// a record). A refusal is an *OpError. A read on this backend that begins after
	// Apply has returned sees its effect. No two operations name the same key. ops
	// and their data belong to the backend from now on, also after an error: a write
	// whose caller has left may still be on its way. Callers may read them, and pass
	// them again.
	Apply(ctx context.Context, ops ...Op) ([]Version, error)

	// Watch calls notify, from a goroutine of the backend, soon (on ZooKeeper
	// well within a second) after any of the keys was created, changed or
	// deleted by anyone, and whenever such a change may have been missed
	// (after the storage was out of reach). notify must not block. The watch
	// ends with the context or the backend.
	Watch(ctx context.Context, keys []Key, notify func())

	// Changes calls notify, from one goroutine of the backend, soon (on
	// ZooKeeper well within a second) after anything was changed through any
	// backend on the same records, unless the change was Quiet. A read that begins
	// in notify, or later, sees the changes. Every change after Changes has returned
	// is reported, or else Missed is. notify must not block. It ends with the context
	// or the backend. Its cost does not depend on how many records are of interest.
	Changes(ctx context.Context, notify func(Changes))

	// Ping asks the storage itself whether it answers.
	Ping(ctx context.Context) error

	// Close ends the backend and waits for its goroutines. Calls under way
	// and later ones fail with ErrUnavailable.
	Close() error
}
