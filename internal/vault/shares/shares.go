// Package shares reads the unseal key of a Vault, or combines it from the shares
// of its holders. It does no I/O.
//
// Vault splits a key with Shamir's scheme, byte by byte over the field GF(2^8) with
// the polynomial of AES (0x11b). A share is the value of each byte's polynomial,
// then the point x in the last byte. The scheme has no check of its own: from wrong
// shares comes a wrong key, which package barrier refuses.
package shares

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

// Sizes of a key, and of a share among several, which has one byte more.
const (
	minKey = 16 // AES-128
	maxKey = 32 // AES-256
)

// The errors of this package.
var (
	ErrMalformed = errors.New("not an unseal key of Vault, or a share of one: it has 32 bytes, or 33 for a share, in hex or base64")
	ErrTooFew    = errors.New("too few shares")
	ErrMixed     = errors.New("the shares have different lengths")
)

// Parse reads a key or a share in hex or base64. The caller should clear it.
func Parse(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	raw, err := Decode(text)
	if err != nil || len(raw) < minKey || len(raw) > maxKey+1 {
		clear(raw)
		return nil, ErrMalformed
	}
	return raw, nil
}

// Decode reads hex or base64. A text that is both is hex.
func Decode(text []byte) ([]byte, error) {
	raw := make([]byte, max(hex.DecodedLen(len(text)), base64.StdEncoding.DecodedLen(len(text))))
	n, err := hex.Decode(raw, text)
	if err != nil {
		n, err = base64.StdEncoding.Strict().Decode(raw, text)
	}
	if err != nil {
		clear(raw)
		return nil, ErrMalformed
	}
	return raw[:n], nil
}

// Combine returns the key from as many shares as needed, in any order. Copies of
// a share count once, further shares are not used. With a threshold of 1 and a
// single holder (shares is 1), the share is the key. The caller should clear it.
func Combine(all [][]byte, number, threshold int) ([]byte, error) {
	if number < 1 || number > 255 || threshold < 1 || threshold > number {
		return nil, fmt.Errorf("the store says that %d of %d shares open it, which is impossible", threshold, number)
	}
	if number == 1 {
		if len(all) == 0 {
			return nil, fmt.Errorf("%w: none", ErrTooFew)
		}
		if n := len(all[0]); n < minKey || n > maxKey {
			return nil, ErrMalformed
		}
		return bytes.Clone(all[0]), nil
	}
	used, err := distinct(all, threshold)
	if err != nil {
		return nil, err
	}
	key := make([]byte, len(used[0])-1)
	for i, share := range used {
		weight := lagrange(used, i)
		for n := range key {
			key[n] ^= mul(share[n], weight)
		}
	}
	return key, nil
}

// distinct returns the first shares with different points.
func distinct(all [][]byte, threshold int) (used [][]byte, err error) {
	var seen [256]bool
	for _, share := range all {
		if len(share) < minKey+1 || len(share) > maxKey+1 {
			return nil, ErrMalformed
		}
		if len(share) != len(all[0]) {
			return nil, ErrMixed
		}
		x := point(share)
		if x == 0 {
			return nil, ErrMalformed
		}
		if seen[x] {
			continue
		}
		seen[x] = true
		if used = append(used, share); len(used) == threshold {
			return used, nil
		}
	}
	return nil, fmt.Errorf("%w: %d of %d", ErrTooFew, len(used), threshold)
}

// point returns x, which is not secret.
func point(share []byte) byte { return share[len(share)-1] }

// lagrange returns the weight of a share for the value at 0.
func lagrange(used [][]byte, i int) byte {
	weight := byte(1)
	for j := range used {
		if j != i {
			xi, xj := point(used[i]), point(used[j])
			weight = mul(weight, mul(xj, inverse(xi^xj)))
		}
	}
	return weight
}

// mul multiplies in GF(2^8), without branches or tables that depend on its
// arguments.
func mul(a, b byte) (product byte) {
	for range 8 {
		product ^= a & -(b & 1)
		b >>= 1
		a = a<<1 ^ 0x1b&-(a>>7)
	}
	return product
}

// inverse returns a^254, which is 1/a for any a but 0.
func inverse(a byte) byte {
	result := byte(1)
	for range 7 {
		a = mul(a, a)
		result = mul(result, a)
	}
	return result
}

// Equal compares two keys in constant time.
func Equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
