package token

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/acl"
)

// ErrBadUID is returned by [Sign].
var ErrBadUID = errors.New("not a user id: printable ASCII, no space at the ends")

// Sign makes an HS256 token. A zero expires makes one that never expires;
// service, if not empty, binds it to that service. Errors are [ErrBadUID],
// [acl.ErrInvalidService], [ErrShortKey] and [ErrLongKey].
func Sign(uid string, expires time.Time, service string, key []byte) (string, error) {
	if !acl.ValidUID(uid) {
		return "", ErrBadUID
	}
	if err := checkHMACKey(key); err != nil {
		return "", err
	}
	c := jwt.MapClaims{"uid": uid}
	if !expires.IsZero() {
		c["exp"] = expires.Unix()
	}
	if service != "" {
		id, err := acl.ParseService(service)
		if err != nil {
			return "", err
		}
		c["service"] = id.String()
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return raw, nil
}
