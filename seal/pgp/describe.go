package pgp

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Description describes a holder's public key to people.
type Description struct {
	Fingerprint string // lower-case hex, of the primary key
	UserID      string // printable characters only; "" if it has none
	Algorithm   string // of the encrypting key, for example "RSA 4096" or "ECDH Curve25519"
	// Expires is when the primary key or the encrypting subkey expires, whichever
	// is first; zero if neither does.
	Expires time.Time
	// Problem is why the key could not be encrypted to at the given time; "" if
	// it could. An expired key can still decrypt.
	Problem string
}

// Describe describes a public key as of the time now. It takes the same text as
// ParsePublicKey, but also describes a key that can no longer be encrypted to.
// The text is not trusted: the user id is cut to 200 characters, and only
// printable ones are kept. If the text is not a public key, Describe returns a
// *KeyError.
func Describe(text string, now time.Time) (Description, error) {
	raw, err := decodeKeyText(text)
	if err != nil {
		return Description{}, err
	}
	entity, err := readOne(raw)
	if err != nil {
		return Description{}, err
	}
	d := Description{Fingerprint: hex.EncodeToString(entity.PrimaryKey.Fingerprint), UserID: userID(entity, now)}
	chosen, err := entity.EncryptionKeyWithError(now, keyConfig(now))
	if err != nil {
		d.Problem = selectionError(entity, err).Reason
		d.describeUnusable(entity)
		return d, nil
	}
	d.Algorithm = algorithm(chosen.PublicKey)
	d.Expires = earlier(expires(entity.PrimaryKey, chosen.PrimarySelfSignature), expires(chosen.PublicKey, chosen.SelfSignature))
	return d, nil
}

// describeUnusable fills in the algorithm and expiry of a key that can no longer
// be encrypted to: those of its newest encryption subkey, or else of the primary
// key.
func (d *Description) describeUnusable(e *openpgp.Entity) {
	self, _ := e.PrimarySelfSignature(time.Time{}, keyConfig(time.Time{})) // the zero time disables checks of time
	d.Algorithm, d.Expires = algorithm(e.PrimaryKey), expires(e.PrimaryKey, self)
	if sub, binding := encryptionSubkey(e); sub != nil {
		d.Algorithm = algorithm(sub.PublicKey)
		d.Expires = earlier(d.Expires, expires(sub.PublicKey, binding))
	}
}

// userID returns the primary user id without characters that could deceive on a
// terminal: control characters, invisible ones, and those that change the
// direction of text.
func userID(e *openpgp.Entity, now time.Time) string {
	_, identity := e.PrimaryIdentity(now, keyConfig(now))
	name := ""
	if identity != nil {
		name = identity.Name
	} else if names := slices.Sorted(maps.Keys(e.Identities)); len(names) > 0 {
		name = names[0]
	}
	var clean []rune
	for _, r := range name {
		if unicode.IsPrint(r) && len(clean) < 200 {
			clean = append(clean, r)
		}
	}
	return string(clean)
}

func algorithm(k *packet.PublicKey) string {
	names := map[packet.PublicKeyAlgorithm]string{
		packet.PubKeyAlgoRSA: "RSA", packet.PubKeyAlgoRSAEncryptOnly: "RSA", packet.PubKeyAlgoECDH: "ECDH",
		packet.PubKeyAlgoX25519: "X25519", packet.PubKeyAlgoX448: "X448", packet.PubKeyAlgoElGamal: "ElGamal",
		packet.PubKeyAlgoDSA: "DSA", packet.PubKeyAlgoECDSA: "ECDSA", packet.PubKeyAlgoEdDSA: "EdDSA",
		packet.PubKeyAlgoEd25519: "Ed25519", packet.PubKeyAlgoEd448: "Ed448",
	}
	name, known := names[k.PubKeyAlgo]
	if !known {
		name = fmt.Sprintf("algorithm %d", k.PubKeyAlgo)
	}
	if curve, err := k.Curve(); err == nil && curve != "" {
		return name + " " + string(curve)
	}
	if bits, err := k.BitLength(); err == nil && name == "RSA" {
		return fmt.Sprintf("%s %d", name, bits)
	}
	return name
}

// expires returns when the key expires according to the signature, or the zero
// time if it does not.
func expires(k *packet.PublicKey, sig *packet.Signature) time.Time {
	if sig == nil || sig.KeyLifetimeSecs == nil || *sig.KeyLifetimeSecs == 0 {
		return time.Time{}
	}
	return k.CreationTime.Add(time.Duration(*sig.KeyLifetimeSecs) * time.Second)
}

// earlier returns the earlier of two times, where the zero time means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// Size returns the length of the key's binary form, in bytes.
func (k *PublicKey) Size() int {
	var n counter
	if err := k.entity.Serialize(&n); err != nil {
		return maxKeyText
	}
	return int(n)
}

// counter counts the bytes written to it.
type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
