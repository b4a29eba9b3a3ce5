package token

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/acl"
)

// A task token is a JWT that the Secret Store itself makes for one task of a
// service. It is signed with HS256 under a key that is derived from the data
// key of a term of the keyring: every unsealed server on the same storage can
// check it, and nobody else can make one. The kid names the term. The header
// has only one spelling, which tells a task token from all others before
// anything in it is trusted:
//
// 	{"alg":"HS256","kid":"secretstore-task-TERM","typ":"JWT"}

// Task is the content of a task token.
type Task struct {
	// ID identifies the token, to count its uses: 32 random lower-case hex
	// digits.
	ID string
	// UID is the minter, the user that had the token made. It is for the audit
	// log, and to check that the minter still has its permission. The token
	// gives none of the rights of that user.
	UID string
	// Generation is that of the account of the minter, 32 lower-case hex digits; "" if
	// the minter has no account in the IAM. When it changes, the token is void.
	Generation string
	// Service is the service that the token is bound to.
	Service acl.Service
	// Expires is when the token is first refused, without leeway: the Secret
	// Store is also its issuer. Whole seconds.
	Expires time.Time
	// Uses is how many secrets, or sets of them, can be fetched with it; 0 is
	// any number while it lives.
	Uses int
}

// The bounds of a task token.
const (
	MaxTaskTTL  = 24 * time.Hour
	MaxTaskUses = 1000
)

// TaskMAC returns the HMAC-SHA-256 of message under the task token key of a
// term of the keyring. Its errors (sealed, an unknown term) are passed on
// unchanged.
type TaskMAC func(term uint32, message []byte) ([]byte, error)

const taskKid = "secretstore-task-"

// The only spelling of the header, before and after the term.
const (
	taskHeaderStart = `{"alg":"HS256","kid":"` + taskKid
	taskHeaderEnd   = `","typ":"JWT"}`
)

// taskPrefix is how every task token begins. Three bytes become four
// characters, so only whole groups of three are compared.
var taskPrefix = base64.RawURLEncoding.EncodeToString([]byte(taskHeaderStart[:len(taskHeaderStart)/3*3]))

// IsTask reports whether raw claims to be a task token, which is not for
// [Verifier].
func IsTask(raw string) bool { return strings.HasPrefix(raw, taskPrefix) }

// taskClaims are the claims on the wire.
type taskClaims struct {
	UID     string `json:"uid"`
	Service string `json:"service"`
	Expires int64  `json:"exp"`
	ID      string `json:"jti"`
	Uses    int    `json:"uses"`
	// Generation came later; servers that do not know it ignore it.
	Generation string `json:"gen,omitempty"`
}

// SignTask makes the token, under the key of a term.
func SignTask(t Task, term uint32, mac TaskMAC) (string, error) {
	if !t.valid() {
		return "", errors.New("internal error: a task token that would not verify")
	}
	claims := jwt.MapClaims{
		"uid": t.UID, "service": t.Service.String(), "exp": t.Expires.Unix(), "jti": t.ID, "uses": t.Uses,
	}
	if t.Generation != "" {
		claims["gen"] = t.Generation
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	unsigned.Header["kid"] = taskKid + strconv.FormatUint(uint64(term), 10)
	message, err := unsigned.SigningString()
	if err != nil {
		return "", err
	}
	sum, err := mac(term, []byte(message))
	if err != nil {
		return "", err
	}
	return message + "." + base64.RawURLEncoding.EncodeToString(sum), nil
}

// VerifyTask returns what a genuine task token says. The error is that of mac,
// or wraps [ErrInvalid] with the reason for a refusal.
func VerifyTask(raw string, now time.Time, mac TaskMAC) (Task, error) {
	if len(raw) > MaxTokenBytes {
		return Task{}, invalid(errTooLong)
	}
	if strings.Count(raw, ".") != 2 || !isJWTText(raw) {
		return Task{}, invalid(errMalformed)
	}
	end := strings.LastIndexByte(raw, '.')
	message, signature := raw[:end], raw[end+1:]
	header, payload, _ := strings.Cut(message, ".")
	term, ok := taskTerm(header)
	if !ok {
		return Task{}, invalid(errHeader)
	}
	sent, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil {
		return Task{}, invalid(errMalformed)
	}
	sum, err := mac(term, []byte(message))
	if err != nil {
		return Task{}, err
	}
	if subtle.ConstantTimeCompare(sum, sent) != 1 {
		return Task{}, invalid(errSignature)
	}
	return readTask(payload, now)
}

// taskTerm returns the term in the header, and whether that has its only
// spelling.
func taskTerm(part string) (uint32, bool) {
	header, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return 0, false
	}
	rest, ok := strings.CutPrefix(string(header), taskHeaderStart)
	if !ok {
		return 0, false
	}
	digits, ok := strings.CutSuffix(rest, taskHeaderEnd)
	if !ok {
		return 0, false
	}
	term, err := strconv.ParseUint(digits, 10, 32)
	return uint32(term), err == nil && strconv.FormatUint(term, 10) == digits
}

// readTask reads the claims of a token whose signature is good.
func readTask(part string, now time.Time) (Task, error) {
	plain, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return Task{}, invalid(errMalformed)
	}
	var c taskClaims
	if json.Unmarshal(plain, &c) != nil {
		return Task{}, invalid(errClaims)
	}
	service, err := acl.ParseService(c.Service)
	if err != nil {
		return Task{}, invalid(errService)
	}
	t := Task{ID: c.ID, UID: c.UID, Service: service, Expires: time.Unix(c.Expires, 0), Uses: c.Uses, Generation: c.Generation}
	if !t.valid() {
		return Task{}, invalid(errClaims)
	}
	if !now.Before(t.Expires) {
		return Task{}, invalid(errExpired)
	}
	return t, nil
}

func (t Task) valid() bool {
	if !isHex(t.ID, 32) || t.Generation != "" && !isHex(t.Generation, generationDigits) {
		return false
	}
	return acl.ValidUID(t.UID) && t.Uses >= 0 && t.Uses <= MaxTaskUses && t.Expires.Unix() > 0 && t.Expires.Unix() <= maxNumericDate
}

// Principal returns the principal that the token names: the service, whatever
// the user UID may do.
func (t Task) Principal() acl.Principal {
	return acl.Principal{UID: t.UID, Service: acl.BindTo(t.Service), Expires: t.Expires}
}
