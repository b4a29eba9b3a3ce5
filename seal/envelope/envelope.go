// Package envelope defines the format in which everything secret is stored: a
// clear header, then AES-256-GCM ciphertext that opens only under the right key
// and only in the place that it was sealed for. It does no I/O and keeps no
// state.
//
//	offset  bytes  header
//	0       2      magic 0x93 'S'
//	2       1      format of the plaintext, 1 or 2; its meaning depends on the
//	               kind, and the envelope itself is the same in both
//	3       1      kind
//	4       4      term of the data key, big-endian; 0 under a key without terms
//	8       8      version of the record, big-endian
//	16      16     value id, random for each write
//	32      32     salt
//	64      …      ciphertext and 16 bytes of tag
//
// Each envelope has its own key, HKDF-Expand(SHA-256, term key, label ‖ salt)
// (RFC 5869; the term key is uniformly random, so Extract is not needed, see
// section 3.3). Random 96-bit nonces under one key stop being safe near 2^32
// messages, and no server can count the messages of the others. With a random
// 256-bit salt, the number of messages has no practical bound, and the nonce
// may be zero because each derived key encrypts exactly one message.
//
// XAES-256-GCM would derive keys in a third of the time, but it is not in the
// standard library, and no maintained module offers it on raw keys.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

// Kind is what an envelope holds. It is authenticated, so that one kind never
// opens as another. The zero value is refused.
type Kind uint8

// The kinds. Their numbers are stored: never reuse one.
const (
	KindRoot    Kind = 1 // the root key
	KindKeyring Kind = 2 // the keyring
	KindSecret  Kind = 3 // a secret's record
	KindPiece   Kind = 4 // a piece of a large value
	KindBlob    Kind = 5 // the parent of the pieces; names the secret that owns them
	// 6 was the next root key under the last one alone. It is neither written
	// nor opened: the storage's past would hand over every root key.
	KindDeleted Kind = 7 // a deleted secret, which can be undeleted
	// KindHandover is the next root key, for servers that have the last one and
	// have announced their own key; see package handover.
	KindHandover Kind = 8
	KindIAM      Kind = 9 // a user, a group or another record of the identities
)

const (
	magic0, magic1 = 0x93, 'S'
	format1        = 1
	maxFormat      = 2
	headerSize     = 64
	saltSize       = 32
	tagSize        = 16
	label          = "secretstore envelope v1"

	// Overhead is the length of an envelope beyond its plaintext, in bytes.
	Overhead = headerSize + tagSize
)

// The errors that callers branch on.
var (
	// ErrCorrupt means that the data is not an envelope, or does not open in
	// this place: it is damaged, was moved, belongs to another store, or was
	// sealed under another key. The causes cannot be distinguished.
	ErrCorrupt = errors.New("the record does not authenticate")
	// ErrNewerFormat means that the envelope was written by a later release.
	ErrNewerFormat = errors.New("the record was written by a newer release")
)

// ID identifies one written value. It is random, and public.
type ID [16]byte

// NewID returns a fresh ID.
func NewID() ID {
	var id ID
	rand.Read(id[:])
	return id
}

// Place is where an envelope belongs. Every field is authenticated: an envelope
// that is moved, renumbered or copied into another store does not open.
type Place struct {
	Store  string // the store's uuid
	Kind   Kind
	Path   string // the path of a secret, or the key of any other record
	Piece  uint32 // index of a piece, from 0; 0 for other kinds
	Pieces uint32 // total number of pieces; 0 for other kinds
}

// Header is the clear part of an envelope. From ParseHeader it is only a claim;
// from Open it is authentic.
type Header struct {
	Kind    Kind
	Format  uint8 // of the plaintext; Seal takes 0 as 1
	Term    uint32
	Version uint64
	ID      ID
}

// ParseHeader reads the header without authenticating it. It returns ErrCorrupt
// or ErrNewerFormat.
func ParseHeader(data []byte) (Header, error) {
	if len(data) < 3 || data[0] != magic0 || data[1] != magic1 {
		return Header{}, ErrCorrupt
	}
	if data[2] < format1 || data[2] > maxFormat {
		return Header{}, fmt.Errorf("%w: format %d, this release knows up to %d", ErrNewerFormat, data[2], maxFormat)
	}
	if len(data) < Overhead {
		return Header{}, ErrCorrupt
	}
	h := Header{
		Kind:    Kind(data[3]),
		Format:  data[2],
		Term:    binary.BigEndian.Uint32(data[4:]),
		Version: binary.BigEndian.Uint64(data[8:]),
	}
	copy(h.ID[:], data[16:32])
	return h, nil
}

// Seal encrypts plaintext for one place. It panics unless h.Kind is the place's
// kind.
func Seal(key *Key, at Place, h Header, plaintext []byte) []byte {
	return SealSpace(key, at, h, append(Space(len(plaintext)), plaintext...))
}

// Space returns a buffer for SealSpace, with capacity for a plaintext of size
// bytes. The caller appends the plaintext to it.
func Space(size int) []byte { return make([]byte, headerSize, headerSize+size+tagSize) }

// SealSpace is like Seal for a plaintext that was appended to a Space. It
// encrypts in place, so that no copy of the plaintext remains in memory unless
// the plaintext outgrew the size given to Space.
func SealSpace(key *Key, at Place, h Header, out []byte) []byte {
	if h.Kind != at.Kind || at.Kind == 0 {
		panic("internal error: envelope of one kind sealed for a place of another")
	}
	out[0], out[1], out[2], out[3] = magic0, magic1, max(format1, h.Format), byte(h.Kind)
	binary.BigEndian.PutUint32(out[4:], h.Term)
	binary.BigEndian.PutUint64(out[8:], h.Version)
	copy(out[16:], h.ID[:])
	rand.Read(out[32:headerSize])
	aad := associatedData(out[:headerSize], at)
	return messageCipher(key, out[32:headerSize]).Seal(out[:headerSize], zeroNonce[:], out[headerSize:], aad)
}

// Open decrypts data, which must have been sealed under key for this place. It
// returns ErrCorrupt or ErrNewerFormat.
func Open(key *Key, at Place, data []byte) ([]byte, Header, error) {
	h, err := ParseHeader(data)
	if err != nil {
		return nil, Header{}, err
	}
	if h.Kind != at.Kind || at.Kind == 0 {
		return nil, Header{}, ErrCorrupt
	}
	aad := associatedData(data[:headerSize], at)
	plain, err := messageCipher(key, data[32:headerSize]).Open(nil, zeroNonce[:], data[headerSize:], aad)
	if err != nil {
		return nil, Header{}, ErrCorrupt
	}
	return plain, h, nil
}

// zeroNonce is safe because each derived key encrypts only one message.
var zeroNonce [12]byte

// messageCipher returns the cipher under the derived key of one envelope.
func messageCipher(key *Key, salt []byte) cipher.AEAD {
	var derived [KeySize]byte
	defer clear(derived[:])
	key.expand(&derived, label, salt)
	block, err := aes.NewCipher(derived[:])
	if err != nil {
		panic("internal error: AES refused a 32-byte key") // unreachable
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("internal error: GCM refused AES") // unreachable
	}
	return aead
}

// associatedData encodes the header and the place. Each part of variable length
// is preceded by its length, so that no two places have the same encoding.
func associatedData(header []byte, at Place) []byte {
	aad := make([]byte, 0, headerSize+len(at.Store)+len(at.Path)+16)
	aad = append(aad, header...)
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(at.Store)))
	aad = append(aad, at.Store...)
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(at.Path)))
	aad = append(aad, at.Path...)
	aad = binary.BigEndian.AppendUint32(aad, at.Piece)
	return binary.BigEndian.AppendUint32(aad, at.Pieces)
}
