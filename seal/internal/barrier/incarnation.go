package barrier

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"

	"secretstore/seal/envelope"
)

// Incarnation distinguishes a restored store from the one that the backup was made
// of: each restore makes a new one. What clients have from another incarnation, such
// as tokens and entity tags, is void. It is random, and zero in a store that was never
// restored.
//
// It is kept in the keyring, which every write checks. So no server writes under
// another one, and nobody can remove it from the storage without taking the keys away
// too, or putting back an older keyring as a whole.
type Incarnation [16]byte

// NewIncarnation returns a random Incarnation.
func NewIncarnation() (i Incarnation) {
	rand.Read(i[:])
	return i
}

// Label returns a label for envelope.Key.Derive that differs in each incarnation.
func (i Incarnation) Label(label string) string {
	if i == (Incarnation{}) {
		return label
	}
	return label + "\x00" + string(i[:])
}

// ValueID returns how clients know a value, given its id in the storage. It differs
// in each incarnation.
func (i Incarnation) ValueID(id envelope.ID) string {
	if i == (Incarnation{}) {
		return hex.EncodeToString(id[:])
	}
	sum := sha256.Sum256([]byte(i.Label("value id") + string(id[:])))
	return hex.EncodeToString(sum[:len(id)])
}

// String returns the incarnation in hex; "" if the store was never restored.
func (i Incarnation) String() string {
	if i == (Incarnation{}) {
		return ""
	}
	return hex.EncodeToString(i[:])
}
