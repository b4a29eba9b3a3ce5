package identities

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"

	"secretstore/seal/envelope"
	"secretstore/seal/internal/barrier"
	"secretstore/store"
)

// buckets is how many indexes there are.
const buckets = 256

// digest is that of the record of an index; zero if there is none.
type digest [sha256.Size]byte

// head says which records are in force. It is comparable.
type head struct {
	seq     uint64 // of the last change, from 1
	indexes [buckets]digest
}

const (
	headFormat = 1
	headSize   = 1 + 8 + buckets*sha256.Size
	macSize    = sha256.Size
)

var (
	errBadHead  = errors.New("the head of the identities is not well-formed")
	errBadMAC   = errors.New("the head of the identities is not genuine")
	errBadIndex = errors.New("the index is not the one that the head names")
)

// encode makes the record of h under a root key, for the store with this uuid.
func (h *head) encode(uuid string, root *envelope.Key) []byte {
	data := make([]byte, 0, headSize+macSize)
	data = binary.BigEndian.AppendUint64(append(data, headFormat), h.seq)
	for i := range h.indexes {
		data = append(data, h.indexes[i][:]...)
	}
	return append(data, headMAC(data, uuid, root)...)
}

func headMAC(body []byte, uuid string, root *envelope.Key) []byte {
	key := root.Derive("secretstore identities", sha256.Size)
	defer clear(key)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("head\x00" + uuid + "\x00"))
	mac.Write(body)
	return mac.Sum(nil)
}

// parseHead reads a record, which an attacker may have written.
func parseHead(data []byte) (h head, mac []byte, err error) {
	if len(data) > 0 && data[0] > headFormat {
		return head{}, nil, envelope.ErrNewerFormat
	}
	if len(data) != headSize+macSize || data[0] != headFormat {
		return head{}, nil, errBadHead
	}
	h.seq = binary.BigEndian.Uint64(data[1:])
	for i := range h.indexes {
		copy(h.indexes[i][:], data[9+i*sha256.Size:])
	}
	if h.seq == 0 {
		return head{}, nil, errBadHead
	}
	return h, data[headSize:], nil
}

// openHead reads a record and checks that it was made under a root key.
func openHead(data []byte, uuid string, root *envelope.Key) (head, error) {
	h, mac, err := parseHead(data)
	if err == nil && !hmac.Equal(mac, headMAC(data[:headSize], uuid, root)) {
		err = errBadMAC
	}
	if err != nil {
		return head{}, err
	}
	return h, nil
}

// index says which records a bucket has: the id of each, by the hash of its name.
type index map[barrier.IAMName]envelope.ID

const (
	indexFormat = 1
	entrySize   = len(barrier.IAMName{}) + len(envelope.ID{})
)

// encode makes the record of the index. It is the same for the same content.
func (x index) encode() []byte {
	data := []byte{indexFormat}
	for _, name := range sortedNames(x) {
		id := x[name]
		data = append(append(data, name[:]...), id[:]...)
	}
	return data
}

// parseIndex reads a record. One that the head names is authentic.
func parseIndex(data []byte) (index, error) {
	if len(data) == 0 || data[0] != indexFormat || (len(data)-1)%entrySize != 0 {
		return nil, errBadIndex
	}
	x := make(index, len(data)/entrySize)
	for rest := data[1:]; len(rest) > 0; rest = rest[entrySize:] {
		var name barrier.IAMName
		var id envelope.ID
		copy(id[:], rest[copy(name[:], rest):])
		if _, twice := x[name]; twice {
			return nil, errBadIndex
		}
		x[name] = id
	}
	return x, nil
}

// indexKey returns the key of the index of a bucket.
func indexKey(bucket byte) store.Key {
	return barrier.KeyIAM + "/" + hex.EncodeToString([]byte{bucket})
}

// recordKey returns the key of a record.
func recordKey(name barrier.IAMName) store.Key {
	return indexKey(name[0]) + "/" + hex.EncodeToString(name[:])
}

// parseName returns the hash that is the last component of a key in a bucket.
func parseName(bucket byte, component string) (name barrier.IAMName, ok bool) {
	raw, err := hex.DecodeString(component)
	if err != nil || len(raw) != len(name) || hex.EncodeToString(raw) != component || raw[0] != bucket {
		return name, false
	}
	copy(name[:], raw)
	return name, true
}

// IsName reports whether the record of the identities in a bucket can have this
// name. The bucket is one that barrier.IsBucket accepts.
func IsName(bucket, component string) bool {
	raw, err := hex.DecodeString(bucket)
	if err != nil || len(raw) != 1 {
		return false
	}
	_, ok := parseName(raw[0], component)
	return ok
}

// parseKey reads the key of an index, or of a record, whose name it then returns.
func parseKey(key store.Key) (bucket byte, name *barrier.IAMName, ok bool) {
	number, component, isRecord := strings.Cut(strings.TrimPrefix(key, barrier.KeyIAM+"/"), "/")
	raw, err := hex.DecodeString(number)
	if err != nil || len(raw) != 1 || indexKey(raw[0]) != key[:min(len(key), len(barrier.KeyIAM)+3)] {
		return 0, nil, false
	}
	if !isRecord {
		return raw[0], nil, true
	}
	parsed, ok := parseName(raw[0], component)
	return raw[0], &parsed, ok
}
