// Package barrier decrypts what a Vault or OpenBao has stored. It does no I/O and
// writes nothing.
//
// A record is
//
//	term uint32, big endian | version byte | nonce 12 | ciphertext | tag 16
//
// in AES-GCM under the key of its term, with its name as additional data: a record
// that was changed, or moved to another name, does not open. Records of version 1,
// from before Vault 0.3, were not bound to their name; they are refused.
package barrier

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"secretstore/internal/vault/shares"
)

// Names of the records that open the others.
const (
	SealConfigName = "core/seal-config"
	KeyringName    = "core/keyring"
	// RootKeysName is a record of Vault 1.3 and later: the root key under the unseal
	// key. Without it, the unseal key is the root key.
	RootKeysName = "core/hsm/barrier-unseal-keys"
)

const (
	termSize   = 4
	nonceSize  = 12
	tagSize    = 16
	headerSize = termSize + 1 + nonceSize
	version    = 2 // the name is additional data
)

// The errors of this package.
var (
	ErrDamaged    = errors.New("does not open: it is damaged, or was not written under this name by this Vault")
	ErrUnbound    = errors.New("was written by a Vault before 0.3, which did not bind a record to its name")
	ErrTerm       = errors.New("is encrypted with a key that this keyring does not have")
	ErrWrongKey   = errors.New("the unseal key does not open this storage")
	ErrAutoUnseal = errors.New("the Vault unseals itself")
)

// SealConfig says how many shares the unseal key has. It is not authenticated: if
// it lies, the unseal key is wrong.
type SealConfig struct{ Shares, Threshold int }

// ParseSealConfig reads the record core/seal-config. A Vault that another system
// unseals is refused with ErrAutoUnseal.
func ParseSealConfig(data []byte) (SealConfig, error) {
	var doc struct {
		Type      string `json:"type"` // absent in 0.5.3
		Shares    int    `json:"secret_shares"`
		Threshold int    `json:"secret_threshold"`
	}
	if json.Unmarshal(data, &doc) != nil {
		return SealConfig{}, fmt.Errorf("%s is not the configuration of a seal", SealConfigName)
	}
	if doc.Type != "" && doc.Type != "shamir" {
		return SealConfig{}, fmt.Errorf("%w (its seal type is %.40q, not shamir)", ErrAutoUnseal, doc.Type)
	}
	if doc.Shares < 1 || doc.Shares > 255 || doc.Threshold < 1 || doc.Threshold > doc.Shares {
		return SealConfig{}, fmt.Errorf("%s: %d of %d shares is impossible", SealConfigName, doc.Threshold, doc.Shares)
	}
	return SealConfig{doc.Shares, doc.Threshold}, nil
}

// RootKey returns the root key, which the record core/hsm/barrier-unseal-keys holds
// under the unseal key; nil if there is no such record. ErrWrongKey.
func RootKey(unsealKey, record []byte) ([]byte, error) {
	if record == nil {
		return append([]byte(nil), unsealKey...), nil
	}
	sealed, ok := blob(record)
	if !ok || len(sealed) < nonceSize+tagSize {
		return nil, fmt.Errorf("%s %w", RootKeysName, ErrDamaged)
	}
	gcm, err := newGCM(unsealKey)
	if err != nil {
		return nil, ErrWrongKey
	}
	plain, err := gcm.Open(nil, sealed[:nonceSize], sealed[nonceSize:], nil)
	if err != nil {
		return nil, ErrWrongKey
	}
	defer clear(plain)
	var keys [][]byte
	if json.Unmarshal(plain, &keys) != nil || len(keys) != 1 {
		return nil, fmt.Errorf("%s does not hold one root key", RootKeysName)
	}
	return keys[0], nil
}

// blob returns field 1 of a BlobInfo. Its other fields describe the key.
func blob(record []byte) (sealed []byte, ok bool) {
	for len(record) > 0 {
		number, kind, n := protowire.ConsumeTag(record)
		if n < 0 {
			return nil, false
		}
		record = record[n:]
		if number == 1 && kind == protowire.BytesType {
			if sealed, n = protowire.ConsumeBytes(record); n < 0 {
				return nil, false
			}
		} else if n = protowire.ConsumeFieldValue(number, kind, record); n < 0 {
			return nil, false
		}
		record = record[n:]
	}
	return sealed, sealed != nil
}

// Keyring holds the keys of all terms. The zero Keyring opens nothing.
type Keyring struct{ terms map[uint32]term }

type term struct {
	gcm cipher.AEAD
	key []byte
}

// OpenKeyring decrypts the record core/keyring with the root key. ErrWrongKey.
func OpenKeyring(rootKey, record []byte) (*Keyring, error) {
	gcm, err := newGCM(rootKey)
	if err != nil {
		return nil, ErrWrongKey
	}
	plain, err := open(gcm, KeyringName, record)
	if errors.Is(err, ErrDamaged) {
		return nil, ErrWrongKey
	} else if err != nil {
		return nil, fmt.Errorf("%s %w", KeyringName, err)
	}
	defer clear(plain)
	var doc struct {
		MasterKey []byte
		Keys      []struct {
			Term    uint32
			Version int
			Value   []byte
		}
	}
	if json.Unmarshal(plain, &doc) != nil || len(doc.Keys) == 0 {
		return nil, fmt.Errorf("%s does not hold keys", KeyringName)
	}
	defer clear(doc.MasterKey)
	if !shares.Equal(doc.MasterKey, rootKey) {
		return nil, fmt.Errorf("%s belongs to another root key", KeyringName)
	}
	ring := &Keyring{map[uint32]term{}}
	for _, k := range doc.Keys {
		gcm, err := newGCM(k.Value)
		if _, twice := ring.terms[k.Term]; err != nil || twice || k.Term == 0 {
			ring.Clear()
			return nil, fmt.Errorf("%s has an impossible key for term %d", KeyringName, k.Term)
		}
		ring.terms[k.Term] = term{gcm, k.Value}
	}
	return ring, nil
}

// Open decrypts the record with a name. ErrDamaged, ErrTerm, ErrUnbound. The caller
// should clear the plaintext.
func (r *Keyring) Open(name string, record []byte) ([]byte, error) {
	if len(record) < headerSize+tagSize {
		return nil, ErrDamaged
	}
	t, ok := r.terms[binary.BigEndian.Uint32(record)]
	if !ok {
		return nil, ErrTerm
	}
	return open(t.gcm, name, record)
}

// Clear overwrites the keys. The cipher's own copies of them stay until they are
// collected.
func (r *Keyring) Clear() {
	for _, t := range r.terms {
		clear(t.key)
	}
	clear(r.terms)
}

func open(gcm cipher.AEAD, name string, record []byte) ([]byte, error) {
	switch {
	case len(record) < headerSize+tagSize:
		return nil, ErrDamaged
	case record[termSize] == 1:
		return nil, ErrUnbound
	case record[termSize] != version:
		return nil, ErrDamaged
	}
	plain, err := gcm.Open(nil, record[termSize+1:headerSize], record[headerSize:], []byte(name))
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
