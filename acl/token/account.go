package token

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/acl"
)

// An account token is a JWT that the Secret Store itself makes for an account of
// its IAM that signs in. It is signed with RS256. The header has only one spelling,
// with the id of the key as in a key set of DC/OS:
//
// 	{"alg":"RS256","kid":"64 hex digits","typ":"JWT"}

// Account is the content of an account token.
type Account struct {
	UID string
	// Generation is that of the account, 32 lower-case hex digits.
	Generation string
	Issued     time.Time
	// Expires is when the token is first refused, without leeway. Whole seconds.
	Expires time.Time
}

const (
	generationDigits = 32
	keyIDDigits      = 64

	accountHeaderStart = `{"alg":"RS256","kid":"`
	accountHeaderEnd   = `","typ":"JWT"}`
	accountHeaderBytes = len(accountHeaderStart) + keyIDDigits + len(accountHeaderEnd)
)

// accountHeaderText is the length of the header in base64url.
var accountHeaderText = base64.RawURLEncoding.EncodedLen(accountHeaderBytes)

var errNotAccount = errors.New("claim exp or gen of an account token is missing")

// SignAccount makes an account token. keyID identifies the key, in 64 lower-case hex
// digits.
func SignAccount(a Account, keyID string, key *rsa.PrivateKey) (string, error) {
	if !acl.ValidUID(a.UID) || !isHex(a.Generation, generationDigits) || !isHex(keyID, keyIDDigits) || a.Expires.Unix() < 0 {
		return "", errors.New("internal error: an account token that would not verify")
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"uid": a.UID, "exp": a.Expires.Unix(), "iat": a.Issued.Unix(), "gen": a.Generation,
	})
	unsigned.Header["kid"] = keyID
	return unsigned.SignedString(key)
}

// AccountKeyID returns the id of the key that raw claims to be signed with, if it
// has the header of an account token. Nothing in it is verified.
func AccountKeyID(raw string) (id string, ok bool) {
	if len(raw) <= accountHeaderText || raw[accountHeaderText] != '.' {
		return "", false
	}
	var buf [accountHeaderBytes]byte
	n, err := base64.RawURLEncoding.Strict().Decode(buf[:], []byte(raw[:accountHeaderText]))
	if err != nil || n != len(buf) {
		return "", false
	}
	id, ok = strings.CutPrefix(string(buf[:]), accountHeaderStart)
	if !ok {
		return "", false
	}
	id, ok = strings.CutSuffix(id, accountHeaderEnd)
	if !ok || !isHex(id, keyIDDigits) {
		return "", false
	}
	return id, true
}

// IsAccount reports whether raw claims to be an account token: it has the header
// and the claim gen of one. Nothing in it is verified.
func IsAccount(raw string) bool {
	if len(raw) > MaxTokenBytes || strings.Count(raw, ".") != 2 || !isJWTText(raw) {
		return false
	}
	if _, ok := AccountKeyID(raw); !ok {
		return false
	}
	payload, _, _ := strings.Cut(raw[accountHeaderText+1:], ".")
	plain, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	if err != nil {
		return false
	}
	var c claims
	if json.Unmarshal(plain, &c) != nil {
		return false
	}
	_, ok := c.generation()
	return ok
}

// VerifyAccount returns the principal and the generation that an account token
// names. The caller checks the generation: a token stays in the memory of the
// Verifier when its account has another one. Errors are those of Verify.
func (v *Verifier) VerifyAccount(raw string) (who acl.Principal, generation string, err error) {
	known, err := v.verify(raw)
	if err != nil {
		return acl.Principal{}, "", err
	}
	if known.generation == "" || known.principal.Expires.IsZero() {
		return acl.Principal{}, "", invalid(errNotAccount)
	}
	return known.principal, known.generation, nil
}

// isHex reports whether s is n lower-case hex digits.
func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}
