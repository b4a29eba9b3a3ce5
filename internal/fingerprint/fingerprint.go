// Package fingerprint writes and reads fingerprints of certificates: the SHA-256
// sum of the DER form, as "openssl x509 -fingerprint -sha256" prints it.
package fingerprint

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// Sum is a fingerprint. The zero Sum is that of no certificate.
type Sum [sha256.Size]byte

// ErrMalformed is returned for a text that is not a fingerprint.
var ErrMalformed = errors.New("is not a fingerprint; write the SHA-256 sum of the certificate: 64 hex digits, with or without colons between the bytes")

// Of returns the fingerprint of a certificate, for people.
func Of(der []byte) string { return Sum(sha256.Sum256(der)).String() }

// String returns 32 bytes in upper-case hex with colons between them.
func (s Sum) String() string {
	out := make([]byte, 0, 3*len(s))
	for _, b := range s {
		out = append(hex.AppendEncode(out, []byte{b}), ':')
	}
	return strings.ToUpper(string(out[:len(out)-1]))
}

// Parse reads a fingerprint, with or without colons, in any case. ErrMalformed.
func Parse(text string) (Sum, error) {
	digits := text
	if parts := strings.Split(text, ":"); len(parts) == sha256.Size {
		for _, p := range parts {
			if len(p) != 2 {
				return Sum{}, ErrMalformed
			}
		}
		digits = strings.Join(parts, "")
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != sha256.Size {
		return Sum{}, ErrMalformed
	}
	return Sum(raw), nil
}
