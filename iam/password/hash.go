// Package password verifies passwords against crypt(3) hashes (SHA-512, as DC/OS
// wrote them), on few workers, so that people who sign in leave the processors to
// the secrets.
package password

import (
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-crypt/x/crypt"
)

const (
	// Rounds of new hashes: those of DC/OS, half a second of one processor.
	Rounds = 656_000
	// MaxRounds bounds the work that a stored hash can ask for. The format allows
	// a thousand times as much.
	MaxRounds = 1_000_000
	// MaxBytes is the longest password. The work grows with its square.
	MaxBytes = 256

	minRounds     = 1000
	defaultRounds = 5000 // of a hash that names none
	saltSize      = 16
	keySize       = 86
	alphabet      = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	prefix        = "$6$"
	roundsPrefix  = "rounds="
)

// ErrBadHash means that a text is not a SHA-512 hash of crypt(3) with at most
// [MaxRounds] rounds. It does not repeat the text.
var ErrBadHash = errors.New("the password hash is not a SHA-512 hash of crypt(3) with 1,000 to 1,000,000 rounds")

// Hash is a parsed hash. The zero value matches no password.
type Hash struct {
	rounds    int
	salt, key string
}

// Parse reads a hash: $6$SALT$KEY or $6$rounds=N$SALT$KEY. ErrBadHash.
func Parse(text string) (Hash, error) {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return Hash{}, ErrBadHash
	}
	h := Hash{rounds: defaultRounds}
	if named, ok := strings.CutPrefix(rest, roundsPrefix); ok {
		digits, after, _ := strings.Cut(named, "$")
		n, err := strconv.Atoi(digits)
		if err != nil || n < minRounds || n > MaxRounds || strconv.Itoa(n) != digits {
			return Hash{}, ErrBadHash
		}
		h.rounds, rest = n, after
	}
	h.salt, h.key, _ = strings.Cut(rest, "$")
	if len(h.salt) > saltSize || strings.Trim(h.salt, alphabet) != "" || len(h.key) != keySize || strings.Trim(h.key, alphabet) != "" {
		return Hash{}, ErrBadHash
	}
	return h, nil
}

// String returns the text of the hash.
func (h Hash) String() string {
	return fmt.Sprintf("%s%s%d$%s$%s", prefix, roundsPrefix, h.rounds, h.salt, h.key)
}

// Rounds returns how much work a verification is.
func (h Hash) Rounds() int { return h.rounds }

// New hashes a password with a new salt.
func New(password []byte) Hash { return hashed(password, Rounds) }

func hashed(password []byte, rounds int) Hash {
	h := Hash{rounds: rounds, salt: newSalt()}
	h.key = string(h.of(password))
	return h
}

func newSalt() string {
	var salt [saltSize]byte
	rand.Read(salt[:]) // never fails
	for i, b := range salt {
		salt[i] = alphabet[b%64]
	}
	return string(salt[:])
}

// of returns the key that a password gives.
func (h Hash) of(password []byte) []byte {
	return crypt.KeySHACrypt(sha512.New, password, []byte(h.salt), h.rounds)
}

// Matches reports whether it is the hash of password. It takes as long for every
// password of one length. A password longer than [MaxBytes] never matches, and
// takes as long as an empty one.
func (h Hash) Matches(password []byte) bool {
	if len(h.key) != keySize {
		return false
	}
	long := len(password) > MaxBytes
	if long {
		password = nil
	}
	return subtle.ConstantTimeCompare(h.of(password), []byte(h.key)) == 1 && !long
}

// matchesAtCost is Matches, which takes the time of so many rounds to say no.
func (h Hash) matchesAtCost(password []byte, rounds int) bool {
	if h.Matches(password) {
		return true
	}
	if missing := rounds - h.rounds; missing >= minRounds {
		Decoy(missing).Matches(password)
	}
	return false
}

// Decoy returns a hash that matches no password, and takes as much work as one of
// so many rounds. Refusing an account that does not exist with it takes as long as
// refusing a wrong password.
func Decoy(rounds int) Hash {
	return Hash{rounds: max(minRounds, min(rounds, MaxRounds)), salt: newSalt(), key: strings.Repeat("!", keySize)}
}
