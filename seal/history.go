package seal

import (
	"time"

	"golang.org/x/crypto/cryptobyte"

	"secretstore/seal/envelope"
)

// The earlier values of a secret are kept in its own record, so that they are
// written, re-encrypted, deleted and lost together with it.

const (
	// DefaultKeepVersions and MaxKeepVersions are how many earlier values of a
	// secret are kept where nothing else is configured, and at most.
	DefaultKeepVersions = 10
	MaxKeepVersions     = 100
	// maxHistory bounds the bytes of all earlier values in one record, as they are
	// encoded: a record is read whole, however old what is wanted of it.
	maxHistory = 8 << 10
	// historyUpTo is the largest value that has a history beside it.
	historyUpTo = 64 << 10
)

// earlierValue is a value that was replaced.
type earlierValue struct {
	id      envelope.ID
	version uint64
	kind    Kind
	written time.Time // zero where it is not known
	value   []byte
}

// earlierOverhead is how much longer an encoded entry is than its value.
const earlierOverhead = len(envelope.ID{}) + 8 + 1 + 8 + 2

func (e *earlierValue) size() int { return earlierOverhead + len(e.value) }

func encodedSize(all []earlierValue) (n int) {
	for i := range all {
		n += all[i].size()
	}
	return n
}

func (e *earlierValue) addTo(b *cryptobyte.Builder) {
	b.AddBytes(e.id[:])
	b.AddUint64(e.version)
	b.AddUint8(uint8(e.kind))
	b.AddUint64(nanoseconds(e.written))
	addString(b, e.value)
}

// readEarlier reads the history at the end of a payload, of which versions only
// ever fall.
func (p *payload) readEarlier(in *cryptobyte.String) bool {
	var list cryptobyte.String
	if !in.ReadUint16LengthPrefixed(&list) {
		return false
	}
	for !list.Empty() {
		var e earlierValue
		var kind uint8
		var written uint64
		var value cryptobyte.String
		if !list.CopyBytes(e.id[:]) || !list.ReadUint64(&e.version) || !list.ReadUint8(&kind) || !list.ReadUint64(&written) ||
			!list.ReadUint16LengthPrefixed(&value) {
			return false
		}
		e.kind, e.written, e.value = Kind(kind), fromNanoseconds(written), value
		n := len(p.earlier)
		if e.kind != Text && e.kind != Binary || e.version == 0 || n > 0 && e.version >= p.earlier[n-1].version {
			return false
		}
		p.earlier = append(p.earlier, e)
	}
	return true
}

// remember makes old and what it remembers the history of p, up to keep values
// and maxHistory bytes: the oldest leave first, and a value too large for that is
// not kept.
func (p *payload) remember(old *head, keep int) {
	p.earlier = nil
	if p.valueSize() > historyUpTo {
		return
	}
	all := old.earlier
	last := earlierValue{id: old.id, version: old.count, kind: old.kind, written: old.written, value: old.value}
	if !old.inPieces() && last.size() <= maxHistory {
		all = append([]earlierValue{last}, all...)
	}
	room := maxHistory
	for i := range all {
		if room -= all[i].size(); i == keep || room < 0 {
			all = all[:i]
			break
		}
	}
	p.earlier = all
}

// valueSize is the size of the value, wherever it is.
func (p *payload) valueSize() uint64 { return max(p.size, uint64(len(p.value))) }

// nanoseconds encodes a time that may not be known, and fromNanoseconds reads it.
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
