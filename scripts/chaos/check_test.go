//go:build zookeeper && linux

package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// kind is what a client did.
type kind int

const (
	create kind = iota // PUT: there must be none
	update             // PATCH: there must be one
	remove             // DELETE: there must be one
	read               // GET of a secret, or whether a list names it
)

func (k kind) String() string { return []string{"create", "update", "remove", "read"}[k] }

// never is the end of a write with unknown outcome: it may take effect at any
// time after its begin, or not at all.
const never = time.Duration(math.MaxInt64)

// op is one operation on one secret, as a client saw it.
type op struct {
	kind       kind
	key        string
	server     int
	begin, end time.Duration // since the start of the run
	// refused: a create found a secret, or another write found none.
	refused bool
	// value is what a write writes or a read found; "" means no secret. Each
	// write has a different value.
	value string
	// listed: the read was a list, which shows only whether there is a secret.
	listed bool
	// nothing: the answer promised that the write has no effect. It is kept in
	// the history for people who read it.
	nothing bool
	cached  bool // a read without no-cache, which is not linearizable
	age     time.Duration
}

func (o op) String() string {
	what := fmt.Sprintf("%v %v, server %d: %v %q", o.begin, o.kind, o.server, o.key, o.value)
	switch {
	case o.end == never:
		return what + ", outcome unknown"
	case o.nothing:
		return what + fmt.Sprintf(", without effect at %v", o.end)
	case o.refused:
		return what + fmt.Sprintf(", refused at %v", o.end)
	default:
		return what + fmt.Sprintf(", done at %v (listed %v, cached %v, age %v)", o.end, o.listed, o.cached, o.age)
	}
}

func (o op) writes() bool { return o.kind != read && !o.refused && !o.nothing }

// register is the model of one secret: its state is the value, "" for none.
//
// An operation with an unknown outcome needs no branch here: if it had no
// effect, it is placed after all others, where no read sees it.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := make(map[string][]porcupine.Operation)
		for _, o := range history {
			key := o.Input.(op).key
			by[key] = append(by[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		o, now := input.(op), state.(string)
		possible := (now == "") == (o.kind == create) // of a write, that it is not refused
		switch {
		case o.kind == read && o.listed:
			return (now == "") == (o.value == ""), now
		case o.kind == read:
			return now == o.value, now
		case o.refused:
			return !possible, now
		case !possible:
			return o.end == never, now
		case o.kind == remove:
			return true, ""
		default:
			return true, o.value
		}
	},
}

// checkTime bounds the check of one history.
const checkTime = 3 * time.Minute

// checkStrict checks that writes and reads with no-cache are linearizable, one
// secret at a time.
func checkStrict(history []op) error {
	keys := make(map[string][]porcupine.Operation)
	for i, o := range history {
		if !o.cached && !o.nothing {
			keys[o.key] = append(keys[o.key], porcupine.Operation{ClientId: i, Input: o, Call: int64(o.begin), Return: int64(o.end)})
		}
	}
	var wrong []error
	for key, ops := range keys {
		if result := porcupine.CheckOperationsTimeout(register, ops, checkTime); result != porcupine.Ok {
			wrong = append(wrong, fmt.Errorf("%s: linearizable: %v\n%s", key, result, describe(history, key)))
		}
	}
	return errors.Join(wrong...)
}

// bounds are the limits for cached reads.
type bounds struct {
	stale    time.Duration // how old an answer may be beyond its Age
	maxStale time.Duration // the largest Age
}

// checkCached finds cached reads that returned a value that never was there,
// one that was replaced through the same server before the read began, or one
// that was replaced longer ago than the bounds allow.
func checkCached(history []op, b bounds) error {
	keys := make(map[string][]op)
	for _, o := range history {
		keys[o.key] = append(keys[o.key], o)
	}
	var wrong []error
	for _, ops := range keys {
		for _, r := range ops {
			if r.kind != read || !r.cached {
				continue
			}
			if err := checkCachedRead(r, ops, b); err != nil {
				wrong = append(wrong, fmt.Errorf("%w: %v\n%s", err, r, describe(ops, r.key)))
			}
		}
	}
	return errors.Join(wrong...)
}

var (
	errMadeUp  = errors.New("a value that was not there")
	errOwn     = errors.New("a server did not see its own write")
	errStale   = errors.New("older than permitted")
	errTooLong = errors.New("from memory for too long")
)

func checkCachedRead(r op, ops []op, b bounds) error {
	if r.age > b.maxStale {
		return errTooLong
	}
	// What the read found was written by one of sources.
	sources := slices.DeleteFunc(slices.Clone(ops), func(o op) bool { return !o.writes() || o.begin > r.end || !r.found(o) })
	if r.value == "" {
		sources = append(sources, op{begin: -1, end: -1}) // before all
	}
	if len(sources) == 0 {
		return errMadeUp
	}
	return longest(sources, func(source op) error {
		for _, w := range ops {
			// w came after source and had replaced it by its end at the latest.
			if !w.writes() || w.end == never || w.begin <= source.end || r.found(w) {
				continue
			}
			switch {
			case w.server == r.server && w.end < r.begin:
				return errOwn
			case w.end < r.begin-r.age-b.stale:
				return errStale
			}
		}
		return nil
	})
}

// longest returns nil if one of the sources explains the read, else the reason
// why the last does not.
func longest(sources []op, explain func(op) error) (err error) {
	for _, source := range sources {
		if err = explain(source); err == nil {
			return nil
		}
	}
	return err
}

// found reports whether r read what w left.
func (r op) found(w op) bool {
	left := w.value
	if w.kind == remove {
		left = ""
	}
	if r.listed {
		return (left == "") == (r.value == "")
	}
	return left == r.value
}

// describe formats the history of one secret.
func describe(history []op, key string) string {
	var lines []string
	history = slices.Clone(history)
	slices.SortFunc(history, func(a, b op) int { return cmp.Compare(a.begin, b.begin) })
	for _, o := range history {
		if o.key == key {
			lines = append(lines, "  "+o.String())
		}
	}
	return strings.Join(lines, "\n")
}
