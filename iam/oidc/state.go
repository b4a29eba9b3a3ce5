package oidc

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// stateLife is how long a browser may take to come back.
const stateLife = 10 * time.Minute

// maxState bounds the cookie with a state, and a code, in bytes.
const maxState = 4 << 10

// state is what a server has to know when a browser comes back from a provider. The
// browser keeps it, encrypted, so that each server can finish the flow.
type state struct {
	Provider string `json:"provider"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Target
	Expires time.Time `json:"expires"`
}

// Record of the key that encrypts states and codes: a format byte and the key. It
// is made with the first provider.
const (
	stateRecord    = "oidc-state/key"
	stateKeyFormat = 1
)

// Labels say what is encrypted: neither passes for the other.
const (
	stateLabel = "secretstore oidc state 1"
	codeLabel  = "secretstore oidc code 1"
)

// errState means that a state or a code is not one that any of the servers has made,
// or that it has expired.
var errState = errors.New("the state of the sign-in is invalid or has expired")

func newStateKey() []byte {
	record := make([]byte, 1+chacha20poly1305.KeySize)
	rand.Read(record) // never fails
	record[0] = stateKeyFormat
	return record
}

// sealText encrypts v with the key in a record.
func sealText(record []byte, label string, v any) (string, error) {
	if len(record) != 1+chacha20poly1305.KeySize || record[0] != stateKeyFormat {
		return "", errBadRecord
	}
	aead, err := chacha20poly1305.NewX(record[1:])
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	// With 192 random bits, two nonces are never the same.
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, text, []byte(label))), nil
}

// openText decrypts what sealText has made into v.
func openText(record []byte, label, sealed string, v any) error {
	if len(record) != 1+chacha20poly1305.KeySize || record[0] != stateKeyFormat || len(sealed) > maxState {
		return errState
	}
	aead, err := chacha20poly1305.NewX(record[1:])
	if err != nil {
		return errState
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || len(box) < chacha20poly1305.NonceSizeX {
		return errState
	}
	text, err := aead.Open(nil, box[:chacha20poly1305.NonceSizeX], box[chacha20poly1305.NonceSizeX:], []byte(label))
	if err != nil || json.Unmarshal(text, v) != nil {
		return errState
	}
	return nil
}

// seal encrypts s with the key in a record.
func (s *state) seal(record []byte) (string, error) { return sealText(record, stateLabel, s) }

// openState decrypts a state, which is good until it expires, for the answer that
// repeats its State.
func openState(record []byte, sealed, answer string, now time.Time) (*state, error) {
	var s state
	if err := openText(record, stateLabel, sealed, &s); err != nil {
		return nil, err
	}
	if s.State == "" || !now.Before(s.Expires) || subtle.ConstantTimeCompare([]byte(s.State), []byte(answer)) != 1 {
		return nil, errState
	}
	return &s, nil
}

// randomText returns 256 random bits as text.
func randomText() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
