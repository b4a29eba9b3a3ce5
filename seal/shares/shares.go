// Package shares splits an unseal key among several holders, so that any
// threshold of them, and no fewer, can reconstruct it. It does no I/O, keeps no
// state, and implements no field arithmetic.
//
// The scheme is Feldman's verifiable secret sharing over Ristretto255
// (cloudflare/circl, constant time): a random scalar is shared, and the unseal
// key is derived from it with HKDF. The commitments are public. They make it
// possible to refuse a wrong share when it is entered, instead of only after the
// last one.
//
// With a single holder, the share is the 32-byte unseal key itself, for
// compatibility with the DC/OS secret store.
package shares

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"secretstore/seal/envelope"
)

// Max is the largest number of shares.
const Max = 32

// shareSize is the length in bytes of one share among several: its number (1 to
// Max), then the scalar.
const shareSize = 1 + 32

// The errors that callers branch on.
var (
	// ErrBadSplit means that the number of shares or the threshold is impossible,
	// or that the scheme does not fit the shares.
	ErrBadSplit = errors.New("unsupported shares or threshold")
	// ErrMalformed means that the text cannot be a share of this scheme.
	ErrMalformed = errors.New("not a share of an unseal key")
	// ErrWrong means that a well-formed share does not belong to this key.
	ErrWrong = errors.New("wrong share")
)

// Scheme describes how a key is shared. It is public, and stored beside the
// wrapped shares. The zero Scheme accepts no share.
type Scheme struct {
	Shares    int // how many there are, 1 to Max
	Threshold int // how many are needed, 1 to Shares
	// Commitments are those of Feldman's scheme, as many as Threshold, each in
	// lower-case hex. There are none if Shares is 1.
	Commitments []string
}

// Share is one holder's part of an unseal key. It is a secret.
type Share struct {
	number byte // from 1; 0 if the share is the whole key
	value  []byte
}

// Check returns ErrBadSplit unless n shares with threshold t are possible. With
// a threshold of 1, each holder can unseal alone.
func Check(n, t int) error {
	if n < 1 || n > Max || t < 1 || t > n {
		return fmt.Errorf("%w: shares must be 1 to %d, and threshold 1 to shares", ErrBadSplit, Max)
	}
	return nil
}

// New makes a random unseal key and its n shares, t of which are needed. It
// returns ErrBadSplit if n or t is impossible.
func New(n, t int) (*envelope.Key, Scheme, []Share, error) {
	if err := Check(n, t); err != nil {
		return nil, Scheme{}, nil, err
	}
	scheme := Scheme{Shares: n, Threshold: t}
	if n == 1 {
		key := envelope.NewKey()
		return key, scheme, []Share{{value: key.Bytes()}}, nil
	}
	secret := group.Ristretto255.RandomNonZeroScalar(rand.Reader)
	split := secretsharing.New(rand.Reader, uint(t-1), secret)
	for _, c := range split.CommitSecret() {
		text, err := c.MarshalBinaryCompress()
		if err != nil {
			return nil, Scheme{}, nil, fmt.Errorf("encode a commitment: %w", err)
		}
		scheme.Commitments = append(scheme.Commitments, hex.EncodeToString(text))
	}
	var out []Share
	for i, s := range split.Share(uint(n)) {
		value, err := s.Value.MarshalBinary()
		if err != nil {
			return nil, Scheme{}, nil, errors.New("internal error: a share does not encode")
		}
		out = append(out, Share{number: byte(i + 1), value: value})
	}
	key, err := deriveKey(secret)
	return key, scheme, out, err
}

// Text returns the share as its holder sees it: in lower-case hex, 64 digits for
// a whole key or 66 for one share among several. The caller should clear it.
func (s Share) Text() []byte {
	raw := s.value
	if s.number != 0 {
		raw = append([]byte{s.number}, s.value...)
		defer clear(raw)
	}
	return hex.AppendEncode(nil, raw)
}

// Number returns the number of the share, from 1, or 0 if it is the whole key.
func (s Share) Number() int { return int(s.number) }

// Clear overwrites the share.
func (s Share) Clear() { clear(s.value) }

// String keeps the share out of logs and errors.
func (s Share) String() string { return "share(hidden)" }

// GoString keeps the share out of %#v.
func (s Share) GoString() string { return s.String() }

// Parse reads a share in the form of Text, as a holder's gpg prints it, and
// checks it against the scheme. Upper-case hex and white space around it are
// accepted. Parse returns ErrMalformed, ErrWrong, or ErrBadSplit if the
// commitments are damaged. The whole key of a single holder is only checked for
// its length: the scheme holds nothing to compare it with. The text is left to the
// caller, who should clear it.
func Parse(scheme Scheme, text []byte) (Share, error) {
	text = bytes.TrimSpace(text)
	raw := make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(raw, text); err != nil {
		clear(raw)
		return Share{}, ErrMalformed
	}
	if scheme.Shares == 1 {
		if len(raw) != envelope.KeySize {
			clear(raw)
			return Share{}, ErrMalformed
		}
		return Share{value: raw}, nil // the caller checks the key itself
	}
	if len(raw) != shareSize || raw[0] == 0 || int(raw[0]) > scheme.Shares {
		clear(raw)
		return Share{}, ErrMalformed
	}
	s := Share{number: raw[0], value: raw[1:]}
	if err := verify(scheme, s); err != nil {
		s.Clear()
		return Share{}, err
	}
	return s, nil
}

func verify(scheme Scheme, s Share) error {
	commitment, err := parseCommitments(scheme)
	if err != nil {
		return err
	}
	share, err := s.circl()
	if err != nil {
		return err
	}
	if !secretsharing.Verify(uint(scheme.Threshold-1), share, commitment) {
		return ErrWrong
	}
	return nil
}

func parseCommitments(scheme Scheme) (secretsharing.SecretCommitment, error) {
	if len(scheme.Commitments) != scheme.Threshold {
		return nil, fmt.Errorf("%w: the commitments of the shares are damaged", ErrBadSplit)
	}
	var out secretsharing.SecretCommitment
	for _, text := range scheme.Commitments {
		raw, err := hex.DecodeString(text)
		element := group.Ristretto255.NewElement()
		if err != nil || len(raw) != 32 || element.UnmarshalBinary(raw) != nil {
			return nil, fmt.Errorf("%w: the commitments of the shares are damaged", ErrBadSplit)
		}
		out = append(out, element)
	}
	return out, nil
}

// circl returns the share in the library's form. It accepts only the canonical
// encoding of a scalar, so that each share has exactly one text.
func (s Share) circl() (secretsharing.Share, error) {
	value := group.Ristretto255.NewScalar()
	if err := value.UnmarshalBinary(s.value); err != nil {
		return secretsharing.Share{}, ErrMalformed
	}
	if again, err := value.MarshalBinary(); err != nil || !bytes.Equal(again, s.value) {
		return secretsharing.Share{}, ErrMalformed
	}
	id := group.Ristretto255.NewScalar().SetUint64(uint64(s.number))
	return secretsharing.Share{ID: id, Value: value}, nil
}

// Combine reconstructs the unseal key from at least Threshold shares with
// different numbers, all from Parse under this scheme. With fewer shares, or the
// same share twice, it returns ErrBadSplit.
func Combine(scheme Scheme, from []Share) (*envelope.Key, error) {
	if scheme.Threshold < 1 || len(from) < scheme.Threshold {
		return nil, fmt.Errorf("%w: %d shares, %d needed", ErrBadSplit, len(from), scheme.Threshold)
	}
	if scheme.Shares == 1 {
		return envelope.KeyFromBytes(from[0].value)
	}
	seen := make(map[byte]bool)
	var parts []secretsharing.Share
	for _, s := range from {
		if seen[s.number] {
			return nil, fmt.Errorf("%w: share %d is given twice", ErrBadSplit, s.number) // the library would panic
		}
		seen[s.number] = true
		part, err := s.circl()
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	secret, err := secretsharing.Recover(uint(scheme.Threshold-1), parts)
	if err != nil {
		return nil, fmt.Errorf("combine the shares: %w", err)
	}
	return deriveKey(secret)
}

// deriveKey returns the unseal key that belongs to a shared scalar.
func deriveKey(secret group.Scalar) (*envelope.Key, error) {
	raw, err := secret.MarshalBinary()
	if err != nil {
		return nil, errors.New("internal error: a scalar does not encode")
	}
	defer clear(raw)
	key, err := hkdf.Key(sha256.New, raw, nil, "secretstore unseal key from shares v1", envelope.KeySize)
	if err != nil {
		return nil, errors.New("internal error: HKDF refused fixed lengths") // unreachable
	}
	defer clear(key)
	return envelope.KeyFromBytes(key)
}
