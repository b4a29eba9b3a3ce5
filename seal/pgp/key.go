// Package pgp wraps shares of the unseal key for their holders with OpenPGP, so
// that each holder can open the message with gpg. It also generates and reads the
// bootstrap key pair, and encrypts exported files. No other package uses OpenPGP.
//
// Encryption keys are selected by go-crypto's v2 API, which gives exact reasons
// for a refusal. Messages are assembled from packets, because the v2 encrypt
// function derives the cipher and the packet version from the preferences in the
// key, while GnuPG 2.2 must be able to open every message: SEIPDv1 with AES-256.
package pgp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"secretstore/internal/textfile"
)

// maxKeyText bounds a public key in its base64 form, in bytes. Keys with many
// certifications have about 100 KB; much more is an attempt to exhaust memory.
const maxKeyText = 1 << 20

// KeyError says why a public key was refused, and how to fix it. Its text never
// repeats the key.
type KeyError struct {
	Reason string
	Hint   string // what to do, usually a gpg command; may be ""
	// Private: it is a private key, which the sender has exposed.
	Private bool
}

func (e *KeyError) Error() string {
	if e.Hint == "" {
		return e.Reason
	}
	return e.Reason + "; " + e.Hint
}

const (
	hintExport  = "send the output of: gpg --export KEYID | base64 -w 0"
	hintNewKey  = "make a key that can encrypt, for example: gpg --quick-gen-key NAME default default"
	hintAddSub  = "add an encryption subkey, for example: gpg --quick-add-key FINGERPRINT default encr, and export it again"
	hintExtend  = "extend it with: gpg --quick-set-expire FINGERPRINT 2y, and for its subkeys: gpg --quick-set-expire FINGERPRINT 2y '*', and export it again"
	hintOneKey  = "export one key alone: gpg --export KEYID | base64 -w 0"
	hintPrivate = "send the public key only (gpg --export), and treat this private key as exposed"
)

// PublicKey is a public key that could be encrypted to at the time for which it
// was parsed.
type PublicKey struct {
	entity  *openpgp.Entity
	encrypt *packet.PublicKey // the selected primary key or subkey
}

// Fingerprint returns the lower-case hex fingerprint of the primary key.
func (k *PublicKey) Fingerprint() string {
	return hex.EncodeToString(k.entity.PrimaryKey.Fingerprint)
}

// Export returns the key in the form that ParsePublicKey and `PUT /init` take:
// base64 of the binary key.
func (k *PublicKey) Export() (string, error) {
	var out bytes.Buffer
	if err := k.entity.Serialize(&out); err != nil {
		return "", fmt.Errorf("export the PGP key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// ParsePublicKey reads one public key of at most 1 MiB: the binary or armored key
// itself, or base64 of either with white space anywhere (the documented
// `base64 -w 0 | tr '\n' ' '` ends in a space). It refuses a key that cannot be
// encrypted to at the time now. All errors are *KeyError.
func ParsePublicKey(text string, now time.Time) (*PublicKey, error) {
	if len(text) > maxKeyText {
		return nil, &KeyError{Reason: "the PGP key is larger than 1 MiB", Hint: "export it with: gpg --export --export-options export-minimal KEYID"}
	}
	raw, err := decodeKeyText(text)
	if err != nil {
		return nil, err
	}
	entity, err := readOne(raw)
	if err != nil {
		return nil, err
	}
	chosen, err := entity.EncryptionKeyWithError(now, keyConfig(now))
	if err != nil {
		return nil, selectionError(entity, err)
	}
	return &PublicKey{entity: entity, encrypt: chosen.PublicKey}, nil
}

// decodeKeyText returns the binary form of a key in any form that ParsePublicKey
// accepts.
func decodeKeyText(text string) ([]byte, error) {
	if isBinary([]byte(text)) {
		return []byte(text), nil
	}
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return nil, &KeyError{Reason: "the PGP key is empty", Hint: hintExport}
	}
	if armored := textfile.Armor([]byte(trimmed)); armored != nil {
		return dearmor(armored)
	}
	compact := strings.Join(strings.Fields(trimmed), "")
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(compact, "="))
	if err != nil {
		return nil, &KeyError{Reason: "the PGP key is not base64", Hint: hintExport}
	}
	if armored := textfile.Armor(raw); armored != nil && !isBinary(raw) {
		return dearmor(armored)
	}
	return raw, nil
}

// isBinary tells packets from text: bit 7 of the first byte of a packet is always
// set (RFC 9580, section 4.2). So is that of a byte order mark, which is no packet
// of a key.
func isBinary(data []byte) bool {
	return len(data) > 0 && data[0]&0x80 != 0 && !bytes.HasPrefix(data, []byte("\xef\xbb\xbf"))
}

func dearmor(text []byte) ([]byte, error) {
	// The decoder would silently ignore everything after the first block.
	if bytes.Count(text, []byte("-----BEGIN PGP ")) > 1 {
		return nil, &KeyError{Reason: "there is more than one key", Hint: hintOneKey}
	}
	block, err := armor.Decode(bytes.NewReader(text))
	if err != nil {
		return nil, &KeyError{Reason: "the armored PGP key is damaged", Hint: hintExport}
	}
	switch block.Type {
	case openpgp.PublicKeyType:
	case openpgp.PrivateKeyType:
		return nil, &KeyError{Reason: "this is a PGP private key", Hint: hintPrivate, Private: true}
	default:
		return nil, &KeyError{Reason: "this is PGP data, but not a public key", Hint: hintExport}
	}
	raw, err := io.ReadAll(io.LimitReader(block.Body, maxKeyText))
	if err != nil {
		return nil, &KeyError{Reason: "the armored PGP key is damaged", Hint: hintExport}
	}
	return raw, nil
}

// readOne reads exactly one public key. It refuses a second one, because it is
// unclear which of the two holders is meant.
func readOne(raw []byte) (*openpgp.Entity, error) {
	packets := packet.NewReader(bytes.NewReader(raw))
	entity, err := openpgp.ReadEntity(packets)
	if err != nil {
		return nil, &KeyError{Reason: "this is not a PGP public key", Hint: hintExport}
	}
	if entity.PrivateKey != nil {
		return nil, &KeyError{Reason: "this is a PGP private key", Hint: hintPrivate, Private: true}
	}
	for _, sub := range entity.Subkeys {
		if sub.PrivateKey != nil {
			return nil, &KeyError{Reason: "this holds a PGP private subkey", Hint: hintPrivate, Private: true}
		}
	}
	if _, err := packets.Next(); err != io.EOF {
		return nil, &KeyError{Reason: "there is more than one key, or data after the key", Hint: hintOneKey}
	}
	return entity, nil
}

// keyConfig returns the policy for keys: go-crypto's v2 defaults, which refuse
// RSA below 2047 bits, DSA and ElGamal.
func keyConfig(now time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return now }}
}

// selectionError turns go-crypto's reason for refusing a key into a KeyError
// that names the command that fixes it.
func selectionError(entity *openpgp.Entity, err error) *KeyError {
	var sel pgperrors.ErrEncryptionKeySelection
	var pointer *pgperrors.ErrEncryptionKeySelection
	if errors.As(err, &pointer) {
		sel = *pointer
	} else if !errors.As(err, &sel) {
		return &KeyError{Reason: "the PGP key cannot encrypt", Hint: hintAddSub}
	}
	if sel.PrimaryKeyErr != nil {
		return reason("the PGP key", sel.PrimaryKeyErr, hintNewKey)
	}
	// go-crypto checks the validity of every subkey before its purpose, so the
	// error may be about an expired signing subkey. That is not why the key
	// cannot encrypt.
	if sub, _ := encryptionSubkey(entity); sub == nil || sel.EncSelectionErr == nil {
		return &KeyError{Reason: "the PGP key cannot encrypt", Hint: hintAddSub}
	}
	return reason("the subkey that encrypts", sel.EncSelectionErr, hintAddSub)
}

// reason says why a key or subkey is refused. replace is the hint for getting
// another one.
func reason(what string, err error, replace string) *KeyError {
	var weak pgperrors.WeakAlgorithmError
	switch {
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return &KeyError{Reason: what + " has expired", Hint: hintExtend}
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return &KeyError{Reason: what + " has been revoked", Hint: replace}
	case errors.As(err, &weak):
		return &KeyError{Reason: what + " is too weak or of a kind that is not accepted", Hint: replace}
	}
	return &KeyError{Reason: fmt.Sprintf("%s cannot be used (%s)", what, trimReason(err)), Hint: replace}
}

// encryptionSubkey returns the newest encryption subkey and the signature that
// binds it, even if the subkey is expired, revoked or too weak. It returns nil if
// there is none.
func encryptionSubkey(e *openpgp.Entity) (sub *openpgp.Subkey, binding *packet.Signature) {
	for i := range e.Subkeys {
		// The zero time disables checks of time.
		sig, err := e.Subkeys[i].LatestValidBindingSignature(time.Time{}, keyConfig(time.Time{}))
		if err != nil || !e.Subkeys[i].PublicKey.PubKeyAlgo.CanEncrypt() {
			continue
		}
		if sig.FlagsValid && !sig.FlagEncryptCommunications && !sig.FlagEncryptStorage {
			continue
		}
		if sub == nil || sig.CreationTime.After(binding.CreationTime) {
			sub, binding = &e.Subkeys[i], sig
		}
	}
	return sub, binding
}

func trimReason(err error) string { return strings.TrimPrefix(err.Error(), "openpgp: ") }
