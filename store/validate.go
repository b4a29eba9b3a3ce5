package store

import (
	"errors"
	"fmt"
	"slices"
)

// MaxNaming bounds what one Apply spends on naming its records: the sum over
// its operations of the length of the key and of OpOverhead. Without it a
// transaction of very many operations with little or no data would pass
// MaxTransaction and yet be larger than a ZooKeeper server accepts, which
// breaks the connection for everyone who shares it. MaxTransaction and
// MaxNaming together stay 28 KiB below that limit.
const (
	MaxNaming  = 96 << 10
	OpOverhead = 64
)

// ErrInvalidOp: an operation that no backend can do (the zero Op, a Create
// without data, two operations on one key, a negative version). It is a
// programming error, never a user's.
var ErrInvalidOp = errors.New("invalid operation")

// CheckOps returns nil if ops may be given to Apply: known kinds, valid keys,
// data exactly where an operation writes it, sizes within MaxData, MaxTransaction and
// MaxNaming, no key twice, no negative version. Otherwise it returns an
// *OpError for the first operation at fault, with ErrInvalidOp, ErrInvalidKey
// or ErrTooLarge. Every backend calls it before it does anything else.
//
// A negative version is refused because ZooKeeper understands -1 as "any version",
// which would turn a conditional write into an unconditional one.
func CheckOps(ops []Op) error {
	data, naming := 0, 0
	seen := newKeySet(len(ops))
	for i := range ops {
		op := &ops[i]
		if err := checkOp(op); err != nil {
			return &OpError{Index: i, Key: op.Key, Err: err}
		}
		data += len(op.Data)
		naming += len(op.Key) + OpOverhead
		if data > MaxTransaction || naming > MaxNaming {
			return &OpError{Index: i, Key: op.Key, Err: ErrTooLarge}
		}
		if seen.has(ops[:i], op.Key) {
			return &OpError{Index: i, Key: op.Key, Err: fmt.Errorf("%w: key named twice", ErrInvalidOp)}
		}
	}
	return nil
}

// fewOps is the number of operations up to which comparing each with all others is
// faster than a map. Nearly all transactions are that small.
const fewOps = 12

// keySet is the keys of the operations before one; nil if they are few.
type keySet map[Key]struct{}

func newKeySet(n int) keySet {
	if n <= fewOps {
		return nil
	}
	return make(keySet, n)
}

// has says whether key is one of before, and otherwise adds it.
func (s keySet) has(before []Op, key Key) bool {
	if s == nil {
		return slices.ContainsFunc(before, func(op Op) bool { return op.Key == key })
	}
	_, there := s[key]
	s[key] = struct{}{}
	return there
}

func checkOp(op *Op) error {
	writes := false
	switch op.Kind {
	case OpCreate, OpEnsure, OpSet, OpBump:
		writes = true
	case OpCheck, OpDelete:
	default:
		return fmt.Errorf("%w: kind %d", ErrInvalidOp, op.Kind)
	}
	if err := ValidKey(op.Key); err != nil {
		return err
	}
	switch {
	case writes && len(op.Data) == 0:
		return fmt.Errorf("%w: no data", ErrInvalidOp)
	case !writes && op.Data != nil:
		return fmt.Errorf("%w: data where none is written", ErrInvalidOp)
	case op.Version < 0:
		return fmt.Errorf("%w: negative version", ErrInvalidOp)
	case len(op.Data) > MaxData:
		return ErrTooLarge
	}
	return nil
}
