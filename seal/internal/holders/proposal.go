package holders

import (
	"crypto/hmac"
	"encoding/json"
	"time"

	"secretstore/seal/envelope"
	"secretstore/seal/pgp"
	"secretstore/seal/shares"
)

// Proposal is the record of a rekey that the present holders have not approved
// yet. It names the new holders; there is no new key so far. It has a MAC under
// the root key: otherwise an attacker who can write to the storage could have
// other holders approved than those that a superuser has proposed.
//
// It is not a Rekey without keys, because earlier releases must not take it for
// one.
type Proposal struct {
	Format  int       `json:"format"`
	Nonce   string    `json:"nonce"` // also of the Rekey that follows
	Started time.Time `json:"started"`
	Rotate  bool      `json:"rotate"`
	// LeaveOut is as in Rekey.
	LeaveOut bool `json:"leave_out,omitempty"`
	// Replaces is the generation of the config that it is for: put back after
	// another rekey, the record is worth nothing.
	Replaces   uint64   `json:"replaces"`
	Threshold  int      `json:"threshold"`
	PublicKeys []string `json:"pgp_keys"` // base64, one for each share
	MAC        string   `json:"mac"`
}

const proposalFormat = 1

// NewProposal returns the record of a rekey that is proposed now: to replace the
// holders of cfg by the owners of keys.
func NewProposal(nonce string, keys []*pgp.PublicKey, threshold int, cfg *Config) (*Proposal, error) {
	p := &Proposal{Format: proposalFormat, Nonce: nonce, Started: time.Now().UTC(), Replaces: cfg.Generation, Threshold: threshold}
	for _, key := range keys {
		text, err := key.Export()
		if err != nil {
			return nil, err
		}
		p.PublicKeys = append(p.PublicKeys, text)
	}
	return p, nil
}

// AppliesTo reports whether the proposal is to replace the holders of cfg, which
// is Genuine.
func (p *Proposal) AppliesTo(cfg *Config) bool { return p.Replaces == cfg.Generation }

// Encode returns the record with its MAC under the root key of a store.
func (p Proposal) Encode(root *envelope.Key, store string) (data []byte, err error) {
	if p.MAC, err = p.mac(root, store); err != nil {
		return nil, err
	}
	return json.Marshal(p)
}

func (p Proposal) mac(root *envelope.Key, store string) (string, error) {
	p.MAC = ""
	return recordMAC(root, "secretstore rekey proposal\x00"+store, p)
}

// ParseProposal reads the record, which an attacker may have written.
// ErrMalformed.
func ParseProposal(root *envelope.Key, store string, data []byte) (*Proposal, error) {
	var p Proposal
	if err := json.Unmarshal(data, &p); err != nil || p.Format != proposalFormat || shares.Check(len(p.PublicKeys), p.Threshold) != nil {
		return nil, ErrMalformed
	}
	want, err := p.mac(root, store)
	if err != nil || !hmac.Equal([]byte(want), []byte(p.MAC)) {
		return nil, ErrMalformed
	}
	return &p, nil
}

// Keys reads the public keys, which may have expired since. *pgp.KeyError.
func (p *Proposal) Keys() ([]*pgp.PublicKey, error) {
	return ParseKeys(len(p.PublicKeys), p.Threshold, p.PublicKeys)
}

// Describe describes the holders that are proposed.
func (p *Proposal) Describe() []Holder {
	out := make([]Holder, 0, len(p.PublicKeys))
	for _, text := range p.PublicKeys {
		d, err := pgp.Describe(text, time.Now())
		if err != nil {
			d.Problem = "the public key cannot be read" // unreachable: it was read before it was recorded
		}
		out = append(out, Holder(d))
	}
	return out
}
