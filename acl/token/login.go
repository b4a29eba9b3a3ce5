package token

import (
	"crypto/rsa"
	"fmt"
	"time"
)

// VerifyLogin verifies the token with which a service signs in: RS256, by one of
// the keys of its account. It returns its claim uid. A token without exp has no
// end, as in DC/OS. ErrInvalid.
func VerifyLogin(raw string, keys []*rsa.PublicKey, now time.Time) (uid string, err error) {
	if len(raw) > MaxTokenBytes {
		return "", fmt.Errorf("%w: %w", ErrInvalid, errTooLong)
	}
	var s state
	for _, k := range keys {
		key, err := checkKey(k, algRS256, "")
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		s.jwks = append(s.jwks, key)
	}
	v, err := s.verify(raw, false, demands{})
	switch {
	case err != nil:
	case !v.principal.Expires.IsZero() && !now.Before(v.principal.Expires):
		err = errExpired
	case !v.notBefore.IsZero() && now.Before(v.notBefore):
		err = errNotYet
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return v.principal.UID, nil
}
