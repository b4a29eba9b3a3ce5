package holders

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"secretstore/seal/envelope"
)

// Rekey is the record of a rekey whose new holders have to verify their shares.
// It has a MAC under the root key: otherwise an attacker who can write to the
// storage could offer the new holders shares of a key of the attacker's own,
// which would open the store once they verified it.
type Rekey struct {
	Format  int       `json:"format"`
	Nonce   string    `json:"nonce"`
	Started time.Time `json:"started"`
	Rotate  bool      `json:"rotate"`
	// LeaveOut permits that a new root key does not reach all live servers.
	LeaveOut bool `json:"leave_out,omitzero"`
	Holding
	// Replaces is the generation of the config that it replaces: put back after
	// another rekey, the record is worth nothing. Earlier releases leave it out;
	// they refuse a record that has it.
	Replaces uint64 `json:"replaces,omitempty"`
	MAC      string `json:"mac"`
}

const rekeyFormat = 1

// NewRekey returns the record of a rekey that is approved now, and makes the
// holders those of h. It counts as started when it was proposed.
func NewRekey(approved *Proposal, h Holding) *Rekey {
	return &Rekey{Format: rekeyFormat, Nonce: approved.Nonce, Started: approved.Started, Rotate: approved.Rotate, LeaveOut: approved.LeaveOut,
		Holding: h, Replaces: approved.Replaces}
}

// AppliesTo reports whether the rekey may replace the holders of cfg, which is
// Genuine. A record of an earlier release counts until the first rekey by this
// one.
func (r *Rekey) AppliesTo(cfg *Config) bool {
	return r.Replaces == cfg.Generation || r.Replaces == 0 && (cfg.Generation == 1 || cfg.IsAdopted)
}

// Encode returns the record with its MAC under the root key of a store.
func (r Rekey) Encode(root *envelope.Key, store string) (data []byte, err error) {
	if r.MAC, err = r.mac(root, store); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

func (r Rekey) mac(root *envelope.Key, store string) (string, error) {
	r.MAC = ""
	return recordMAC(root, "secretstore rekey\x00"+store, r)
}

// ParseRekey reads the record, which an attacker may have written.
// ErrMalformed.
func ParseRekey(root *envelope.Key, store string, data []byte) (*Rekey, error) {
	var r Rekey
	if err := json.Unmarshal(data, &r); err != nil || r.Format != rekeyFormat || r.Validate() != nil {
		return nil, ErrMalformed
	}
	want, err := r.mac(root, store)
	if err != nil || !hmac.Equal([]byte(want), []byte(r.MAC)) {
		return nil, ErrMalformed
	}
	return &r, nil
}

// recordMAC returns the MAC of a record, in hex. Each kind of record has a label
// of its own.
func recordMAC(root *envelope.Key, label string, record any) (string, error) {
	plain, err := json.Marshal(record)
	if err != nil {
		return "", fmt.Errorf("encode a record: %w", err)
	}
	mac := hmac.New(sha256.New, root.Derive(label, sha256.Size))
	mac.Write(plain)
	return hex.EncodeToString(mac.Sum(nil)), nil
}
