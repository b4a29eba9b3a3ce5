package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"secretstore/internal/textfile"
)

// MinHMACKeyBytes is the length of the shortest HS256 key: that of the hash
// (RFC 7518, 3.2). The JWT library would accept an empty key.
const MinHMACKeyBytes = 32

// Bounds of a key set. A token without kid is tried against every key of its
// algorithm, so the number of keys bounds what a forged token can cost; the
// cost of one check grows with the square of the modulus.
const (
	MaxJWKSBytes   = 1 << 20
	maxJWKSKeys    = 32
	minRSABits     = 2048
	maxRSABits     = 8192
	maxHMACBytes   = 4096
	algHS256       = "HS256"
	algRS256       = "RS256"
	algES256       = "ES256"
	maxRSAExponent = 1<<31 - 1
)

// Errors about keys. They are for operators; none holds key material.
var (
	ErrShortKey = fmt.Errorf("HS256 key is shorter than %d bytes", MinHMACKeyBytes)
	ErrLongKey  = fmt.Errorf("HS256 key is longer than %d bytes", maxHMACBytes)
	ErrBadJWKS  = errors.New("unusable key set")
	// ErrRevoked is wrapped, besides one of the others, if a source is valid
	// but has no key: that is how an operator revokes a key, so no old key
	// stays in force.
	ErrRevoked = errors.New("its tokens are refused")
	// ErrKeyLeftOut says that a key set is in force, but for some of its keys,
	// which are malformed or unsafe.
	ErrKeyLeftOut = errors.New("the key set is in force without these keys, whose tokens are refused")
)

// errOtherUse is why a key is skipped that is not meant for tokens here. Real
// sets hold such.
var errOtherUse = errors.New("for another use")

// FirstLine returns a copy of raw up to its first line break, which is how
// DC/OS reads its token secret from a file or znode.
func FirstLine(raw []byte) []byte {
	return bytes.Clone(textfile.FirstLine(raw))
}

// publicKey is one key of a set, with the only algorithm that it is used with.
type publicKey struct {
	alg string
	kid string // empty: none
	key jwt.VerificationKey
}

// parseJWKS reads a key set. It skips keys for other uses (encryption, other
// algorithms, symmetric), since real sets hold such. If it has to skip others, it
// returns the rest and an [ErrKeyLeftOut]. If no key is left, the error says why
// for each key, and wraps [ErrRevoked].
func parseJWKS(raw []byte) ([]publicKey, error) {
	if len(raw) > MaxJWKSBytes {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrBadJWKS, MaxJWKSBytes)
	}
	var set struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	// Something else than a set, {} for example, is a mistake, and revokes no
	// key.
	if err := json.Unmarshal(raw, &set); err != nil || set.Keys == nil {
		return nil, fmt.Errorf("%w: not a JSON Web Key Set", ErrBadJWKS)
	}
	if len(set.Keys) > maxJWKSKeys {
		return nil, fmt.Errorf("%w: more than %d keys", ErrBadJWKS, maxJWKSKeys)
	}
	var keys []publicKey
	why := []error{fmt.Errorf("%w: no key for RS256 or ES256 in it, so %w", ErrBadJWKS, ErrRevoked)}
	leftOut := []error{ErrKeyLeftOut}
	for i, m := range set.Keys {
		k, err := parseJWK(m)
		if err == nil {
			keys = append(keys, k)
			continue
		}
		err = fmt.Errorf("key %d%s: %w", i, named(m.KID), err)
		why = append(why, err)
		if !errors.Is(err, errOtherUse) {
			leftOut = append(leftOut, err)
		}
	}
	switch {
	case len(keys) == 0:
		return nil, errors.Join(why...)
	case len(leftOut) > 1:
		return keys, errors.Join(leftOut...)
	}
	return keys, nil
}

// named shows the id of a key, which comes from outside.
func named(kid string) string {
	if kid == "" {
		return ""
	}
	return fmt.Sprintf(" (kid %.64q)", kid)
}

// parseJWK reads one key for verifying signatures.
func parseJWK(m jwkset.JWKMarshal) (publicKey, error) {
	if m.USE != "" && m.USE != jwkset.UseSig {
		return publicKey{}, fmt.Errorf("%w than signatures", errOtherUse)
	}
	if len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return publicKey{}, fmt.Errorf("%w than verifying", errOtherUse)
	}
	if m.KTY != jwkset.KtyRSA && m.KTY != jwkset.KtyEC {
		return publicKey{}, fmt.Errorf("%w: neither RSA nor EC", errOtherUse)
	}
	if m.D != "" || m.K != "" {
		// Anybody who can read the set could sign with it.
		return publicKey{}, errors.New("holds a private or symmetric key")
	}
	// Only the bare key counts: nothing here checks certificates, and a URL in
	// a key must not be fetched.
	bare := jwkset.JWKMarshal{KTY: m.KTY, CRV: m.CRV, X: m.X, Y: m.Y, N: m.N, E: m.E}
	jwk, err := jwkset.NewJWKFromMarshal(bare, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return publicKey{}, errors.New("malformed")
	}
	return checkKey(jwk.Key(), string(m.ALG), m.KID)
}

// checkKey derives the algorithm from the type of the key. A key that names
// another one is refused.
func checkKey(key any, alg, kid string) (publicKey, error) {
	k := publicKey{kid: kid}
	switch pub := key.(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return publicKey{}, fmt.Errorf("RSA key of %d bits: %d to %d are accepted", bits, minRSABits, maxRSABits)
		}
		if pub.E < 3 || pub.E%2 == 0 || pub.E > maxRSAExponent {
			return publicKey{}, errors.New("RSA key with a bad exponent")
		}
		k.alg, k.key = algRS256, pub
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			return publicKey{}, errors.New("EC key that is not on P-256")
		}
		k.alg, k.key = algES256, pub
	default:
		return publicKey{}, errors.New("neither RSA nor EC")
	}
	if alg != "" && alg != k.alg {
		return publicKey{}, fmt.Errorf("%w than %s", errOtherUse, k.alg)
	}
	return k, nil
}
