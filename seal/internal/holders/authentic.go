package holders

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"secretstore/seal/envelope"
)

// The record of a Config ends with its MAC, which covers all bytes before it as
// they are stored, those of fields that this release does not know included.
const (
	macBegin = `,"mac":"`
	macEnd   = `"}`
	macSize  = len(macBegin) + 2*sha256.Size + len(macEnd)
)

// Authenticity is what Verify finds.
type Authenticity int

const (
	// Forged: the MAC is wrong. The zero value.
	Forged Authenticity = iota
	// WithoutMAC: an earlier release has written the record, or an attacker.
	WithoutMAC
	// Genuine: a server that knew the root key has written the record.
	Genuine
)

// Encode returns the record, with its MAC under the root key of the store.
func (c *Config) Encode(root *envelope.Key) ([]byte, error) {
	plain := *c
	plain.MAC = ""
	data, err := json.Marshal(plain)
	if err != nil {
		return nil, fmt.Errorf("encode the record of the holders: %w", err)
	}
	body := bytes.TrimSuffix(data, []byte("}"))
	mac := hex.EncodeToString(configMAC(root, c.UUID, body))
	return append(body, macBegin+mac+macEnd...), nil
}

// Verify checks the MAC of a record that ParseConfig has returned.
func (c *Config) Verify(root *envelope.Key) Authenticity {
	if c.stored == nil {
		return Forged
	}
	if c.MAC == "" {
		return WithoutMAC
	}
	if len(c.stored) < macSize {
		return Forged
	}
	body, tail := c.stored[:len(c.stored)-macSize], c.stored[len(c.stored)-macSize:]
	want := macBegin + hex.EncodeToString(configMAC(root, c.UUID, body)) + macEnd
	if !hmac.Equal(tail, []byte(want)) {
		return Forged
	}
	return Genuine
}

// SameRecord reports whether both were parsed from the same bytes.
func (c *Config) SameRecord(other *Config) bool {
	return c != nil && other != nil && c.stored != nil && bytes.Equal(c.stored, other.stored)
}

func configMAC(root *envelope.Key, uuid string, body []byte) []byte {
	key := root.Derive("secretstore config\x00"+uuid, sha256.Size)
	defer clear(key)
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(nil)
}
