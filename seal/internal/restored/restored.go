// Package restored has the record that a restored store has until its first unseal,
// and the MAC that shows which backups servers of the store have made.
//
// It is pure: package backup writes the record, and package lifecycle decides what
// follows from it.
package restored

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"secretstore/seal/envelope"
)

// Record says which backup a storage was restored from. It is in the clear, and
// anybody who can write to the storage can write one: only the hash has a MAC.
type Record struct {
	Format int    `json:"format"`
	Sum    []byte `json:"sha256"` // of the backup
	MAC    []byte `json:"mac"`    // of Sum, as the backup has it
	// Made is when the backup was made, and WithoutIAM says that the records of the
	// IAM were left out. They are for people.
	Made       time.Time `json:"made"`
	WithoutIAM bool      `json:"without_iam,omitempty"`
}

const recordFormat = 1

// maxRecord is longer than any record, in bytes.
const maxRecord = 1 << 10

// ErrMalformed: that is not a record, or a later release has written it.
var ErrMalformed = errors.New("not the record of a restore")

// Encode returns the stored form of the record.
func (r Record) Encode() []byte {
	r.Format = recordFormat
	data, err := json.Marshal(r)
	if err != nil {
		panic("internal error: the record of a restore does not encode") // unreachable: plain fields, and the time of a manifest
	}
	return data
}

// Parse reads a record, which an attacker may have written. ErrMalformed.
func Parse(data []byte) (Record, error) {
	var r Record
	if len(data) > maxRecord || json.Unmarshal(data, &r) != nil || r.Format != recordFormat || len(r.Sum) != sha256.Size {
		return Record{}, ErrMalformed
	}
	return r, nil
}

// Genuine reports whether a server of the store with this root key has made a backup
// with that hash.
func (r Record) Genuine(root *envelope.Key) bool { return hmac.Equal(MAC(r.Sum, root), r.MAC) }

// MAC returns the MAC of a backup with this hash, under a root key.
func MAC(sum []byte, root *envelope.Key) []byte {
	mac := hmac.New(sha256.New, root.Derive("secretstore backup", sha256.Size))
	mac.Write(sum)
	return mac.Sum(nil)
}
