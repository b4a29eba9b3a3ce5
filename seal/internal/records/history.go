package records

import (
	"encoding/binary"
	"iter"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"secretstore/seal/envelope"
)

// The earlier values of a secret are kept in its own record, so that they are
// written, re-encrypted, deleted and lost together with it.

const (
	// DefaultKeepVersions is how many earlier values of a secret are kept if
	// nothing else is configured, and MaxKeepVersions the most that can be.
	DefaultKeepVersions = 10
	MaxKeepVersions     = 100
	// maxHistory bounds the encoded bytes of all earlier values in one record: a
	// record is always read whole.
	maxHistory = 8 << 10
	// historyUpTo is the largest value that has a history beside it.
	historyUpTo = 64 << 10
)

// earlierValue is a value that was replaced.
type earlierValue struct {
	id      envelope.ID
	version uint64
	kind    Kind
	written time.Time // zero if not known
	value   []byte
}

// earlierOverhead is how much longer an encoded entry is than its value.
const earlierOverhead = len(envelope.ID{}) + 8 + 1 + 8 + 2

func (e *earlierValue) size() int { return earlierOverhead + len(e.value) }

// appendTo appends the encoding of e, whose value has at most maxHistory bytes.
func (e *earlierValue) appendTo(to []byte) []byte {
	to = append(to, e.id[:]...)
	to = binary.BigEndian.AppendUint64(to, e.version)
	to = append(to, uint8(e.kind))
	to = binary.BigEndian.AppendUint64(to, nanoseconds(e.written))
	to = binary.BigEndian.AppendUint16(to, uint16(len(e.value)))
	return append(to, e.value...)
}

// read takes the next entry off in. The value aliases it.
func (e *earlierValue) read(in *cryptobyte.String) bool {
	var kind uint8
	var written uint64
	var value cryptobyte.String
	if !in.CopyBytes(e.id[:]) || !in.ReadUint64(&e.version) || !in.ReadUint8(&kind) || !in.ReadUint64(&written) ||
		!in.ReadUint16LengthPrefixed(&value) {
		return false
	}
	e.kind, e.written, e.value = Kind(kind), fromNanoseconds(written), value
	return e.version > 0 && (e.kind == Text || e.kind == Binary)
}

// history is the earlier values, newest first. They stay encoded: nearly always
// they are only copied. The zero value is empty.
type history struct {
	newest []byte // the one that has just been replaced, apart from the rest
	rest   []byte
}

func historyOf(values ...earlierValue) (h history) {
	for i := range values {
		h.rest = values[i].appendTo(h.rest)
	}
	return h
}

// parseHistory reads encoded entries, whose versions must fall.
func parseHistory(in cryptobyte.String) (history, bool) {
	before := uint64(math.MaxUint64)
	for left := in; !left.Empty(); {
		var e earlierValue
		if !e.read(&left) || e.version >= before {
			return history{}, false
		}
		before = e.version
	}
	if in.Empty() {
		return history{}, true
	}
	return history{rest: in}, true
}

// clear overwrites the values.
func (h history) clear() {
	clear(h.newest)
	clear(h.rest)
}

func (h history) size() int { return len(h.newest) + len(h.rest) }

// all returns the values. They alias h.
func (h history) all() iter.Seq[earlierValue] {
	return func(yield func(earlierValue) bool) {
		for _, part := range [...]cryptobyte.String{h.newest, h.rest} {
			for !part.Empty() {
				var e earlierValue
				if !e.read(&part) || !yield(e) {
					return
				}
			}
		}
	}
}

// without returns all values except that of one version.
func (h history) without(version uint64) history {
	var others []earlierValue
	for e := range h.all() {
		if e.version != version {
			others = append(others, e)
		}
	}
	return historyOf(others...)
}

// first returns the newest values of a history as it was read: at most count
// values, and at most room bytes.
func (h history) first(count, room int) []byte {
	end := 0
	for e := range h.all() {
		if count--; count < 0 || end+e.size() > room {
			break
		}
		end += e.size()
	}
	return h.rest[:end]
}

// remember makes old and its history the history of p, up to keep values and
// maxHistory bytes. The oldest are dropped first; a value too large for that is
// not kept.
func (p *payload) remember(old *secretRecord, keep int) {
	p.earlier = history{}
	if p.valueSize() > historyUpTo {
		return
	}
	room := maxHistory
	last := earlierValue{id: old.id, version: old.number, kind: old.kind, written: old.written, value: old.value}
	if n := last.size(); keep > 0 && !old.inPieces() && n <= room {
		p.earlier.newest = last.appendTo(make([]byte, 0, n))
		keep, room = keep-1, room-n
	}
	p.earlier.rest = old.earlier.first(keep, room)
}

// valueSize is the size of the value, wherever it is.
func (p *payload) valueSize() uint64 { return max(p.size, uint64(len(p.value))) }

// nanoseconds encodes a time that may not be known; fromNanoseconds reads it.
func nanoseconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func fromNanoseconds(nanoseconds uint64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(nanoseconds)).UTC()
}
