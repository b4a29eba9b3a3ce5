package pgp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// bootstrapBits is the size of the generated RSA key.
const bootstrapBits = 4096

// maxMessage bounds a wrapped unseal key, in bytes: a message to an RSA-4096 key
// has 644.
const maxMessage = 64 << 10

// ErrWrongRecipient means that a message was not encrypted to this private key,
// or is not an intact OpenPGP message.
var ErrWrongRecipient = errors.New("the message does not open with this PGP key")

// PrivateKey is the bootstrap private key. It has no passphrase, because a
// server must use it unattended. It must not be printed.
type PrivateKey struct {
	entity *openpgp.Entity
}

// Generate makes a new RSA-4096 key pair that is dated now and does not expire.
// It takes about a second.
func Generate(now time.Time) (*PrivateKey, error) {
	entity, err := openpgp.NewEntity("Secret Store bootstrap", "", "", &packet.Config{
		Algorithm:     packet.PubKeyAlgoRSA,
		RSABits:       bootstrapBits,
		DefaultCipher: packet.CipherAES256,
		Time:          func() time.Time { return now },
	})
	if err != nil {
		return nil, fmt.Errorf("generate the bootstrap key: %w", err)
	}
	return &PrivateKey{entity: entity}, nil
}

// The data read as a bootstrap key may come from an attacker. The time to check
// the numbers of an RSA key grows with the cube of their length: the longest
// that OpenPGP can hold would take half a minute, during which the store cannot
// be sealed. These bounds, in bytes, keep it below a second.
const (
	maxPrivateText   = 16 << 10 // armored; a generated key has 7 KiB
	maxPrivatePacket = 2560     // an RSA-4096 private key has 1.8 KiB
)

// checkPackets refuses private keys that are larger than those of Generate.
func checkPackets(binary []byte) error {
	for packets := packet.NewOpaqueReader(bytes.NewReader(binary)); ; {
		p, err := packets.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case (p.Tag == tagPrivateKey || p.Tag == tagPrivateSubkey) && len(p.Contents) > maxPrivatePacket:
			return errors.New("the private key is too long")
		}
	}
}

// Packet tags (RFC 9580, section 5).
const (
	tagPrivateKey    = 5
	tagPrivateSubkey = 7
)

// ParsePrivateKey reads an armored private key without a passphrase, of RSA-4096
// at most. Its errors never repeat the key.
func ParsePrivateKey(armored []byte) (*PrivateKey, error) {
	errBad := errors.New("the bootstrap key is not an armored PGP private key")
	if len(armored) > maxPrivateText {
		return nil, errBad
	}
	block, err := armor.Decode(bytes.NewReader(armored))
	if err != nil || block.Type != openpgp.PrivateKeyType {
		return nil, errBad
	}
	binary, err := io.ReadAll(block.Body) // no longer than armored
	if err != nil || checkPackets(binary) != nil {
		return nil, errBad
	}
	defer clear(binary)
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(binary)))
	if err != nil || entity.PrivateKey == nil {
		return nil, errBad
	}
	if entity.PrivateKey.Encrypted {
		return nil, errors.New("the bootstrap key has a passphrase; a server cannot use it")
	}
	return &PrivateKey{entity: entity}, nil
}

// Armor returns the armored private key. It is a secret.
func (k *PrivateKey) Armor() ([]byte, error) {
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PrivateKeyType, nil)
	if err != nil {
		return nil, fmt.Errorf("armor the bootstrap key: %w", err)
	}
	if err := k.entity.SerializePrivateWithoutSigning(w, nil); err != nil {
		return nil, fmt.Errorf("armor the bootstrap key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("armor the bootstrap key: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// Public returns the public half, as it can be used at the time now. It fails
// with a *KeyError if the key cannot encrypt then.
func (k *PrivateKey) Public(now time.Time) (*PublicKey, error) {
	chosen, err := k.entity.EncryptionKeyWithError(now, keyConfig(now))
	if err != nil {
		return nil, selectionError(k.entity, err)
	}
	return &PublicKey{entity: k.entity, encrypt: chosen.PublicKey}, nil
}

// Fingerprint returns the lower-case hex fingerprint of the primary key.
func (k *PrivateKey) Fingerprint() string {
	return hex.EncodeToString(k.entity.PrimaryKey.Fingerprint)
}

// Unwrap opens a message made by Wrap, of 64 KiB at most. Any failure is
// ErrWrongRecipient.
func (k *PrivateKey) Unwrap(message []byte) ([]byte, error) {
	if len(message) > maxMessage {
		return nil, ErrWrongRecipient
	}
	md, err := openpgp.ReadMessage(bytes.NewReader(message), openpgp.EntityList{k.entity}, nil, nil)
	if err != nil {
		return nil, ErrWrongRecipient
	}
	// The MDC is checked at the end of the body, so no part of the body may be
	// used before all of it was read without an error.
	plain, err := io.ReadAll(io.LimitReader(md.UnverifiedBody, maxMessage))
	if err != nil {
		return nil, ErrWrongRecipient
	}
	return plain, nil
}
