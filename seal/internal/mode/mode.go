// Package mode defines the security modes, and the record in which a store remembers
// the highest one that operators have chosen for it.
//
// It is pure: package lifecycle reads and writes the record, and decides what
// follows from it.
package mode

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"secretstore/seal/envelope"
)

// Mode is a security mode. Higher ones compare as greater. The zero Mode is below
// all others: a server with it may serve no store that remembers a mode.
type Mode uint8

// The modes, the lowest first.
const (
	Disabled   Mode = iota + 1 // plain HTTP only
	Permissive                 // HTTP and HTTPS
	Strict                     // HTTPS only
)

var names = [...]string{Disabled: "disabled", Permissive: "permissive", Strict: "strict"}

// String returns the word for the mode, "unknown" for a Mode that is none of the
// above.
func (m Mode) String() string {
	if m == 0 || int(m) >= len(names) {
		return "unknown"
	}
	return names[m]
}

// ErrUnknown means that a word is not the name of a mode.
var ErrUnknown = errors.New("unknown security mode")

// Parse returns the mode with that name. ErrUnknown.
func Parse(word string) (Mode, error) {
	for m := Disabled; m <= Strict; m++ {
		if names[m] == word {
			return m, nil
		}
	}
	return 0, ErrUnknown
}

// Record is what a store remembers. It is in the clear, and carries a MAC under the
// root key: anybody who can write to the storage can remove it or put an older one
// back, and only somebody with the root key can make one.
type Record struct {
	Format int    `json:"format"`
	Name   string `json:"mode"`
	MAC    string `json:"mac"`
}

const recordFormat = 1

// maxRecord is longer than any record, in bytes.
const maxRecord = 1 << 10

// Encode returns the record of m for the store with this uuid.
func Encode(m Mode, store string, root *envelope.Key) []byte {
	r := Record{Format: recordFormat, Name: m.String()}
	r.MAC = hex.EncodeToString(r.mac(store, root))
	data, err := json.Marshal(r)
	if err != nil {
		panic("internal error: the record of the mode does not encode") // unreachable: plain fields
	}
	return data
}

// ParseRecord reads a record, which an attacker may have written. Junk is the zero
// Record.
func ParseRecord(data []byte) (r Record) {
	if len(data) > maxRecord || json.Unmarshal(data, &r) != nil {
		return Record{}
	}
	return r
}

func (r Record) mac(store string, root *envelope.Key) []byte {
	mac := hmac.New(sha256.New, root.Derive("secretstore security mode", sha256.Size))
	mac.Write([]byte("mode\x00" + store + "\x00" + r.Name))
	return mac.Sum(nil)
}

// Claimed returns the mode that the record names, genuine or not; 0 if it names
// none that this release knows.
func (r Record) Claimed() Mode {
	if r.Format != recordFormat {
		return 0
	}
	m, err := Parse(r.Name)
	if err != nil {
		return 0
	}
	return m
}

// Newer reports whether a later release seems to have written the record. This one
// can neither check nor replace it.
func (r Record) Newer() bool { return r.Format > recordFormat }

// Genuine returns the mode that the record names if its MAC is that of the store,
// and 0 otherwise.
func (r Record) Genuine(store string, root *envelope.Key) Mode {
	got, err := hex.DecodeString(r.MAC)
	if err != nil || !hmac.Equal(got, r.mac(store, root)) {
		return 0
	}
	return r.Claimed()
}
