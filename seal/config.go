package seal

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"secretstore/seal/envelope"
)

// configRecord describes the store in the clear. Nothing in it is secret, and
// nothing in it is trusted beyond what the envelopes authenticate: the uuid is
// part of every envelope, a wrong key check or wrapped key only keeps the store
// sealed.
type configRecord struct {
	Format       int       `json:"format"`
	UUID         string    `json:"uuid"`
	Created      time.Time `json:"created"`
	Shares       int       `json:"shares"`
	Threshold    int       `json:"threshold"`
	Keys         []string  `json:"keys"`             // hex of OpenPGP messages
	Fingerprints []string  `json:"pgp_fingerprints"` // hex
	KeyCheck     string    `json:"key_check"`        // hex, see keyCheck
}

const configFormat = 1

var errBadConfig = errors.New("the record is not well-formed")

// keyCheck tells a wrong unseal key from damaged data. It is derived one-way,
// with a label of its own, and bound to the store.
func keyCheck(unsealKey *envelope.Key, store string) string {
	return hex.EncodeToString(unsealKey.Derive("secretstore unseal key check\x00"+store, 32))
}

func (c *configRecord) checks(unsealKey *envelope.Key) bool {
	return hmac.Equal([]byte(c.KeyCheck), []byte(keyCheck(unsealKey, c.UUID)))
}

func (c *configRecord) encode() ([]byte, error) { return json.Marshal(c) }

// parseConfig reads the record, which an attacker may have written.
func parseConfig(data []byte) (*configRecord, error) {
	var c configRecord
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&c); err != nil {
		return nil, errBadConfig
	}
	if c.Format > configFormat {
		return nil, fmt.Errorf("%w: format %d, this release knows %d", envelope.ErrNewerFormat, c.Format, configFormat)
	}
	id, err := uuid.Parse(c.UUID)
	if err != nil || id.String() != c.UUID || c.Format != configFormat {
		return nil, errBadConfig
	}
	if c.Shares < 1 || c.Threshold < 1 || c.Threshold > c.Shares || c.Shares > 255 ||
		len(c.Keys) != c.Shares || len(c.Fingerprints) != c.Shares || len(c.KeyCheck) != 64 {
		return nil, errBadConfig
	}
	for _, s := range append(append([]string(nil), c.Keys...), c.Fingerprints...) {
		if _, err := hex.DecodeString(s); err != nil || s == "" {
			return nil, errBadConfig
		}
	}
	return &c, nil
}
