package lifecycle

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"secretstore/seal/envelope"
	"secretstore/seal/pgp"
	"secretstore/seal/shares"
)

// configRecord describes the store in the clear. Nothing in it is secret, and
// nothing in it is trusted beyond what the envelopes authenticate: the uuid is
// part of every envelope, and a wrong key check or wrapped key only keeps the
// store sealed.
type configRecord struct {
	Format  int       `json:"format"`
	UUID    string    `json:"uuid"`
	Created time.Time `json:"created"`
	holding
}

// holding says who holds an unseal key, and how: init makes it and a rekey
// replaces it.
type holding struct {
	Shares       int      `json:"shares"`
	Threshold    int      `json:"threshold"`
	Keys         []string `json:"keys"`                  // hex of OpenPGP messages
	Fingerprints []string `json:"pgp_fingerprints"`      // hex
	PublicKeys   []string `json:"pgp_keys"`              // base64, as they were given
	Commitments  []string `json:"commitments,omitempty"` // of the shares, see seal/shares
	KeyCheck     string   `json:"key_check"`             // hex, see keyCheck
}

func (h *holding) scheme() shares.Scheme {
	return shares.Scheme{Shares: h.Shares, Threshold: h.Threshold, Commitments: h.Commitments}
}

const configFormat = 1

var errBadConfig = errors.New("the record is not well-formed")

// keyCheck tells a wrong unseal key from damaged data. It is derived one-way,
// with a label of its own, and bound to the store.
func keyCheck(unsealKey *envelope.Key, store string) string {
	return hex.EncodeToString(unsealKey.Derive("secretstore unseal key check\x00"+store, 32))
}

func (h *holding) checks(unsealKey *envelope.Key, store string) bool {
	return hmac.Equal([]byte(h.KeyCheck), []byte(keyCheck(unsealKey, store)))
}

// newHolding makes an unseal key and wraps its shares for the owners of keys.
// The plaintext of each message is the share in hex.
func newHolding(keys []*pgp.PublicKey, threshold int, store string) (*envelope.Key, holding, error) {
	unsealKey, scheme, parts, err := shares.New(len(keys), threshold)
	if err != nil {
		return nil, holding{}, fmt.Errorf("%w: %w", ErrBadShares, err)
	}
	h := holding{Shares: scheme.Shares, Threshold: scheme.Threshold, Commitments: scheme.Commitments, KeyCheck: keyCheck(unsealKey, store)}
	for i, part := range parts {
		defer part.Clear()
		text := part.Text()
		message, err := keys[i].Wrap(text)
		clear(text)
		if err != nil {
			return nil, holding{}, err
		}
		public, err := keys[i].Export()
		if err != nil {
			return nil, holding{}, err
		}
		h.Keys = append(h.Keys, hex.EncodeToString(message))
		h.Fingerprints = append(h.Fingerprints, keys[i].Fingerprint())
		h.PublicKeys = append(h.PublicKeys, public)
	}
	return unsealKey, h, nil
}

func (c *configRecord) encode() ([]byte, error) { return json.Marshal(c) }

func (c *configRecord) info() InitInfo {
	return InitInfo{Initialized: true, Keys: c.Keys, Fingerprints: c.Fingerprints}
}

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
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &c, nil
}

// validate checks the form of a record that an attacker may have written.
func (h *holding) validate() error {
	if shares.Check(h.Shares, h.Threshold) != nil || len(h.Keys) != h.Shares || len(h.Fingerprints) != h.Shares ||
		len(h.PublicKeys) != h.Shares || len(h.KeyCheck) != 64 {
		return errBadConfig
	}
	if h.Shares > 1 && len(h.Commitments) != h.Threshold {
		return errBadConfig
	}
	for _, text := range slices.Concat(h.Keys, h.Fingerprints, h.Commitments) {
		if _, err := hex.DecodeString(text); err != nil || text == "" {
			return errBadConfig
		}
	}
	return nil
}
