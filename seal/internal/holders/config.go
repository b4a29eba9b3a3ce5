// Package holders has the record of who holds the unseal key of a store, and
// collects the shares that holders enter.
package holders

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

	"secretstore/internal/scrub"
	"secretstore/seal/envelope"
	"secretstore/seal/pgp"
	"secretstore/seal/shares"
)

// The errors of package seal that concern holders. It documents them.
var (
	ErrBadKey    = errors.New("not an unseal key: give the hex digits that gpg prints")
	ErrWrongKey  = errors.New("wrong unseal key")
	ErrBadShares = errors.New("unsupported shares or threshold")
)

// ErrMalformed means that a record of this package is not well-formed.
var ErrMalformed = errors.New("the record is not well-formed")

// Config describes the store in the clear. Nothing in it is secret. A sealed
// server can only try to unseal with it, which is safe with any Config: the
// uuid is part of every envelope, and a wrong key check or wrapped key only
// keeps the store sealed. Decisions about keys need one that Verify finds
// Genuine.
type Config struct {
	Format  int       `json:"format"`
	UUID    string    `json:"uuid"`
	Created time.Time `json:"created"`
	Holding
	// Generation is raised by each rekey. It begins at 1 in a new store, and is 0
	// if a release that knows no MAC has written the record; see Adopted.
	Generation uint64 `json:"generation,omitempty"`
	// IsAdopted: an unseal has added the MAC, and there was no rekey since.
	IsAdopted bool `json:"adopted,omitempty"`
	// MAC is there to find a record without one; see Verify.
	MAC string `json:"mac,omitempty"`

	stored []byte // what was parsed; nil if it was not
}

// NewConfig returns the record of a new store.
func NewConfig(uuid string, h Holding) *Config {
	return &Config{Format: configFormat, UUID: uuid, Created: time.Now().UTC(), Holding: h, Generation: 1}
}

// Adopted returns the record that replaces c, which has no MAC, when an unseal
// has proved it. Its generation is the time in seconds: somebody may have removed
// the MAC, and all that the store had before must count as older.
func (c *Config) Adopted() *Config {
	next := *c
	next.Generation, next.IsAdopted = uint64(time.Now().Unix()), true
	return &next
}

// Rekeyed returns the record that replaces c when h is in force.
func (c *Config) Rekeyed(h Holding) *Config {
	return &Config{Format: c.Format, UUID: c.UUID, Created: c.Created, Holding: h, Generation: c.Generation + 1}
}

// Holding says who holds an unseal key, and how: init makes it and a rekey
// replaces it.
type Holding struct {
	Shares       int      `json:"shares"`
	Threshold    int      `json:"threshold"`
	Keys         []string `json:"keys"`                  // hex of OpenPGP messages
	Fingerprints []string `json:"pgp_fingerprints"`      // hex
	PublicKeys   []string `json:"pgp_keys"`              // base64, as they were given
	Commitments  []string `json:"commitments,omitempty"` // of the shares, see seal/shares
	KeyCheck     string   `json:"key_check"`             // hex, see keyCheck
}

func (h *Holding) scheme() shares.Scheme {
	return shares.Scheme{Shares: h.Shares, Threshold: h.Threshold, Commitments: h.Commitments}
}

const configFormat = 1

// keyCheck distinguishes a wrong unseal key from damaged data. It is derived
// one-way, with its own label, and bound to the store.
func keyCheck(unsealKey *envelope.Key, store string) string {
	return hex.EncodeToString(unsealKey.Derive("secretstore unseal key check\x00"+store, 32))
}

func (h *Holding) checks(unsealKey *envelope.Key, store string) bool {
	return hmac.Equal([]byte(h.KeyCheck), []byte(keyCheck(unsealKey, store)))
}

// maxPublicKeys bounds the public keys of all holders together, in bytes: they
// are kept with the store's other records.
const maxPublicKeys = 256 << 10

// ParseKeys checks the parameters of an init or a rekey and reads the public
// keys, one for each share. ErrBadShares, *pgp.KeyError.
func ParseKeys(count, threshold int, texts []string) ([]*pgp.PublicKey, error) {
	if count != len(texts) {
		return nil, fmt.Errorf("%w: shares is %d, but there are %d pgp_keys; give one public key for each share", ErrBadShares, count, len(texts))
	}
	if err := shares.Check(count, threshold); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadShares, err)
	}
	var keys []*pgp.PublicKey
	size := 0
	for i, text := range texts {
		key, err := pgp.ParsePublicKey(text, time.Now())
		var refused *pgp.KeyError
		if errors.As(err, &refused) && len(texts) > 1 {
			numbered := *refused
			numbered.Reason = fmt.Sprintf("key %d of pgp_keys: %s", i+1, refused.Reason)
			err = &numbered
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
		if size += key.Size(); size > maxPublicKeys {
			return nil, &pgp.KeyError{Reason: fmt.Sprintf("the PGP keys are larger than %d KiB together", maxPublicKeys>>10),
				Hint: "leave out the signatures of others: gpg --export --export-options export-minimal KEYID | base64 -w 0"}
		}
	}
	return keys, nil
}

// New makes an unseal key for a store and wraps its shares for the owners of
// keys. The plaintext of each message is the share in hex. ErrBadShares.
func New(keys []*pgp.PublicKey, threshold int, store string) (unsealKey *envelope.Key, h Holding, err error) {
	scrub.Do(func() { unsealKey, h, err = wrapNewKey(keys, threshold, store) })
	return unsealKey, h, err
}

func wrapNewKey(keys []*pgp.PublicKey, threshold int, store string) (*envelope.Key, Holding, error) {
	unsealKey, scheme, parts, err := shares.New(len(keys), threshold)
	if err != nil {
		return nil, Holding{}, fmt.Errorf("%w: %w", ErrBadShares, err)
	}
	h := Holding{Shares: scheme.Shares, Threshold: scheme.Threshold, Commitments: scheme.Commitments, KeyCheck: keyCheck(unsealKey, store)}
	for i, part := range parts {
		defer part.Clear()
		text := part.Text()
		message, err := keys[i].Wrap(text)
		clear(text)
		if err != nil {
			return nil, Holding{}, err
		}
		public, err := keys[i].Export()
		if err != nil {
			return nil, Holding{}, err
		}
		h.Keys = append(h.Keys, hex.EncodeToString(message))
		h.Fingerprints = append(h.Fingerprints, keys[i].Fingerprint())
		h.PublicKeys = append(h.PublicKeys, public)
	}
	return unsealKey, h, nil
}

// ParseConfig reads the record, which an attacker may have written.
// ErrMalformed, envelope.ErrNewerFormat.
func ParseConfig(data []byte) (*Config, error) {
	var c Config
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&c); err != nil {
		return nil, ErrMalformed
	}
	if c.Format > configFormat {
		return nil, fmt.Errorf("%w: format %d, this release knows %d", envelope.ErrNewerFormat, c.Format, configFormat)
	}
	id, err := uuid.Parse(c.UUID)
	if err != nil || id.String() != c.UUID || c.Format != configFormat {
		return nil, ErrMalformed
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.stored = data
	return &c, nil
}

// Validate checks the form of a record that an attacker may have written.
// ErrMalformed.
func (h *Holding) Validate() error {
	if shares.Check(h.Shares, h.Threshold) != nil || len(h.Keys) != h.Shares || len(h.Fingerprints) != h.Shares ||
		len(h.PublicKeys) != h.Shares || len(h.KeyCheck) != 64 {
		return ErrMalformed
	}
	if h.Shares > 1 && len(h.Commitments) != h.Threshold {
		return ErrMalformed
	}
	for _, text := range slices.Concat(h.Keys, h.Fingerprints, h.Commitments) {
		if _, err := hex.DecodeString(text); err != nil || text == "" {
			return ErrMalformed
		}
	}
	return nil
}
