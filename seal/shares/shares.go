// Package shares splits an unseal key among several holders, so that any
// threshold of them, and no fewer, can put it together again. It is pure: no
// I/O, no state, and no field arithmetic of its own.
//
// The scheme is Feldman's verifiable secret sharing over Ristretto255
// (cloudflare/circl, constant time): a random scalar is shared, and the unseal
// key is derived from it with HKDF. The commitments are public; with them a
// wrong share is told from a right one at once, not only when enough have been
// entered.
//
// With a single holder the share is the 32-byte unseal key itself, as the
// original had it.
package shares

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"secretstore/seal/envelope"
)

// Max is the largest number of shares.
const Max = 32

// shareSize is the length of a share of several in bytes: one of number (1 to
// Max), then the scalar.
const shareSize = 1 + 32

// The errors that callers branch on.
var (
	// ErrBadSplit: a number of shares or a threshold that is not possible.
	ErrBadSplit = errors.New("unsupported shares or threshold")
	// ErrMalformed: text that cannot be a share.
	ErrMalformed = errors.New("not a share of an unseal key")
	// ErrWrong: a well-formed share that is none of this key.
	ErrWrong = errors.New("wrong share")
)

// Scheme is how a key is shared: public, kept beside the wrapped shares. The
// zero Scheme accepts no share.
type Scheme struct {
	Shares    int
	Threshold int
	// Commitments are those of Feldman's scheme, as many as Threshold, in
	// lower-case hex; none where Shares is 1.
	Commitments []string
}

// Share is one holder's part of an unseal key. It is a secret.
type Share struct {
	number byte // from 1; 0 where the share is the whole key
	value  []byte
}

// Check returns ErrBadSplit unless n shares with threshold t are possible. A
// threshold of 1 lets each of several holders unseal alone.
func Check(n, t int) error {
	if n < 1 || n > Max || t < 1 || t > n {
		return fmt.Errorf("%w: shares must be 1 to %d, and threshold 1 to shares", ErrBadSplit, Max)
	}
	return nil
}

// New makes a random unseal key and its n shares, of which t are needed.
// ErrBadSplit.
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

// Text returns the share as its holder gets it: lower-case hex, 64 digits of a
// whole key or 66 of one among several. The caller clears it.
func (s Share) Text() []byte {
	raw := s.value
	if s.number != 0 {
		raw = append([]byte{s.number}, s.value...)
		defer clear(raw)
	}
	return hex.AppendEncode(nil, raw)
}

// Number returns which share it is, from 1; 0 for a whole key.
func (s Share) Number() int { return int(s.number) }

// Clear overwrites the share.
func (s Share) Clear() { clear(s.value) }

// String keeps the share out of logs and errors.
func (s Share) String() string { return "share(hidden)" }

// GoString keeps the share out of %#v.
func (s Share) GoString() string { return s.String() }

// Parse reads what a holder's gpg has printed, and checks it against the
// scheme: hex, white space around it ignored. ErrMalformed, ErrWrong.
func Parse(scheme Scheme, text string) (Share, error) {
	raw, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return Share{}, ErrMalformed
	}
	if scheme.Shares == 1 {
		if len(raw) != envelope.KeySize {
			return Share{}, ErrMalformed
		}
		return Share{value: raw}, nil // right or wrong is told by the key check
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

// circl returns the share in the library's form. Only the canonical encoding of
// a scalar is taken, so that one share has one text.
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

// Combine puts the unseal key together from at least the threshold of shares
// with different numbers, all from Parse under this scheme.
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
			return nil, fmt.Errorf("%w: share %d is given twice", ErrBadSplit, s.number) // the library panics on it
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
