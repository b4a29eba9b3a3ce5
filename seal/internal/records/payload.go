package records

import (
	"errors"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// payload is the plaintext of a secret's record. The value id, the version and
// the term are in the envelope's header, and so is the format of the encoding.
// In TLS presentation style (RFC 8446 section 3):
//
//	uint8   kind
//	uint64  created, nanoseconds since 1970
//	uint64  written, nanoseconds since 1970; 0 if not known      (format 2)
//	opaque  author<0..2^16-1>, description<0..2^16-1>
//	opaque  label<0..2^16-1> labels<0..2^16-1>
//	uint8   0: value<0..2^32-1> follows   1: uint64 size of a value in pieces
//	earlierValue earlier<0..2^16-1>                              (format 2)
//
//	struct earlierValue, newest first:
//	opaque  id[16]
//	uint64  version
//	uint8   kind
//	uint64  written, as above
//	opaque  value<0..2^16-1>
//
// Whatever a later release adds gets a new format.
type payload struct {
	kind        Kind
	created     time.Time // of the secret
	written     time.Time // of the value; zero if not known
	author      string
	description string
	labels      []string
	value       []byte // nil if the value is in pieces
	size        uint64 // bytes of the value in pieces; 0 if it is inline
	earlier     history
}

const (
	// payloadFormat is the format of new records; format 1 had no history.
	payloadFormat = 2
	// inlineMax is the largest value kept in the record itself, in bytes. Larger
	// ones are split into pieces of pieceSize: a ZooKeeper server keeps its last
	// 500 transactions in memory, and pieces of 512 KiB have exhausted a heap of
	// 512 MiB.
	inlineMax = 128 << 10
	pieceSize = 128 << 10
	// MaxSize is the largest value that can be configured, in bytes.
	MaxSize = 1 << 32
)

var errBadPayload = errors.New("the record's content is not well-formed")

func (p *payload) inPieces() bool { return p.size > 0 }

// encodedSize is an upper bound of how many bytes appendTo appends.
func (p *payload) encodedSize() int {
	n := 64 + len(p.author) + len(p.description) + len(p.value) + p.earlier.size()
	for _, l := range p.labels {
		n += 2 + len(l)
	}
	return n
}

// appendTo appends the encoding of p.
func (p *payload) appendTo(to []byte, format uint8) ([]byte, error) {
	b := cryptobyte.NewBuilder(to)
	b.AddUint8(uint8(p.kind))
	b.AddUint64(uint64(p.created.UnixNano()))
	if format > 1 {
		b.AddUint64(nanoseconds(p.written))
	}
	addString(b, p.author)
	addString(b, p.description)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, l := range p.labels {
			addString(b, l)
		}
	})
	if p.inPieces() {
		b.AddUint8(1)
		b.AddUint64(p.size)
	} else {
		b.AddUint8(0)
		b.AddUint32(uint32(len(p.value))) // at most inlineMax
		b.AddBytes(p.value)
	}
	if format > 1 {
		b.AddUint16(uint16(p.earlier.size())) // at most maxHistory, or what had been read
		b.AddBytes(p.earlier.newest)
		b.AddBytes(p.earlier.rest)
	}
	return b.Bytes()
}

// addString adds opaque<0..2^16-1>, without the two allocations of
// AddUint16LengthPrefixed.
func addString[T string | []byte](b *cryptobyte.Builder, s T) {
	if len(s) > math.MaxUint16 {
		b.SetError(errTooLong)
		return
	}
	b.AddUint16(uint16(len(s)))
	b.AddBytes([]byte(s))
}

var errTooLong = errors.New("a part of the record is too long")

// decodePayload reads an authenticated plaintext. The values alias plain.
func decodePayload(format uint8, plain []byte) (*payload, error) {
	in := cryptobyte.String(plain)
	var (
		p                            payload
		kind, where                  uint8
		created, written             uint64
		author, description, listing cryptobyte.String
	)
	if !in.ReadUint8(&kind) || !in.ReadUint64(&created) || format > 1 && !in.ReadUint64(&written) ||
		!in.ReadUint16LengthPrefixed(&author) || !in.ReadUint16LengthPrefixed(&description) || !in.ReadUint16LengthPrefixed(&listing) || !in.ReadUint8(&where) {
		return nil, errBadPayload
	}
	for !listing.Empty() {
		var label cryptobyte.String
		if !listing.ReadUint16LengthPrefixed(&label) {
			return nil, errBadPayload
		}
		p.labels = append(p.labels, string(label))
	}
	switch where {
	case 0:
		var value cryptobyte.String
		if !readUint32LengthPrefixed(&in, &value) {
			return nil, errBadPayload
		}
		p.value = value
	case 1:
		if !in.ReadUint64(&p.size) || p.size == 0 || p.size > MaxSize {
			return nil, errBadPayload
		}
	default:
		return nil, errBadPayload
	}
	p.kind, p.author, p.description = Kind(kind), string(author), string(description)
	p.created, p.written = time.Unix(0, int64(created)).UTC(), fromNanoseconds(written)
	if format > 1 {
		var encoded cryptobyte.String
		ok := in.ReadUint16LengthPrefixed(&encoded)
		if ok {
			p.earlier, ok = parseHistory(encoded)
		}
		if !ok {
			return nil, errBadPayload
		}
	}
	if !in.Empty() || (p.kind != Text && p.kind != Binary) {
		return nil, errBadPayload
	}
	return &p, nil
}

func readUint32LengthPrefixed(in, out *cryptobyte.String) bool {
	var n uint32
	return in.ReadUint32(&n) && uint64(n) <= uint64(len(*in)) && in.ReadBytes((*[]byte)(out), int(n))
}

// checkMetadata checks a change against the limits of metadata.
func checkMetadata(c Change) error {
	if c.Description != nil && len(*c.Description) > MaxDescription || len(c.Author) > MaxAuthor {
		return ErrBadMetadata
	}
	if c.Labels != nil {
		if len(*c.Labels) > MaxLabels {
			return ErrBadMetadata
		}
		for _, l := range *c.Labels {
			if len(l) > MaxLabel {
				return ErrBadMetadata
			}
		}
	}
	return nil
}

// pieceCount returns how many pieces a value of size bytes has.
func pieceCount(size uint64) uint32 { return uint32((size + pieceSize - 1) / pieceSize) }
