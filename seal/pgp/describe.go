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

// Description is what people want to know of a holder's public key.
type Description struct {
	Fingerprint string // lower-case hex, of the primary key
	UserID      string // "" if it has none
	Algorithm   string // of the key that encrypts, for example "RSA 4096" or "ECDH Curve25519"
	// Expires is when the key, or the subkey that encrypts, expires; zero if
	// never.
	Expires time.Time
	// Problem is why nothing can be encrypted to it any more at the time asked
	// for; "" if it can. A key that has expired still decrypts.
	Problem string
}

// Describe reads a public key that ParsePublicKey has taken at some time. Its
// text is not trusted: user ids are cut at 200 characters and keep only what can
// be printed.
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

// describeUnusable fills in what can be said of a key to which nothing can be
// encrypted any more: of its newest subkey for that, or else of the primary key.
func (d *Description) describeUnusable(e *openpgp.Entity) {
	self, _ := e.PrimarySelfSignature(time.Time{}, keyConfig(time.Time{})) // without checks of time
	d.Algorithm, d.Expires = algorithm(e.PrimaryKey), expires(e.PrimaryKey, self)
	if sub, binding := encryptionSubkey(e); sub != nil {
		d.Algorithm = algorithm(sub.PublicKey)
		d.Expires = earlier(d.Expires, expires(sub.PublicKey, binding))
	}
}

// userID returns the primary user id without what could deceive on a terminal:
// control characters, and those that change the direction of text or are not
// seen.
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

// expires returns when the signature lets the key expire; zero if never.
func expires(k *packet.PublicKey, sig *packet.Signature) time.Time {
	if sig == nil || sig.KeyLifetimeSecs == nil || *sig.KeyLifetimeSecs == 0 {
		return time.Time{}
	}
	return k.CreationTime.Add(time.Duration(*sig.KeyLifetimeSecs) * time.Second)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// Size returns how long the key's binary form is, in bytes.
func (k *PublicKey) Size() int {
	var n counter
	if err := k.entity.Serialize(&n); err != nil {
		return maxKeyText
	}
	return int(n)
}

type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
