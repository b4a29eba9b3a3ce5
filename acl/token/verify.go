package token

import (
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// Reasons for refusing a token before its claims are read.
var (
	errTooLong   = errors.New("longer than 16 KiB")
	errMalformed = errors.New("not three parts of a JWT")
	errHeader    = errors.New("header with a parameter that is not accepted")
	errAlgorithm = errors.New("algorithm not accepted")
	errNoKey     = errors.New("no key for its algorithm and kid")
	errSignature = errors.New("signature does not verify")
)

// refusedHeaders are parameters with which a token would bring or point to its
// own key, or change how it is read. (RFC 7515, 4.1.11: an unknown crit must be
// refused. None is known here.)
var refusedHeaders = [...]string{"crit", "jku", "jwk", "x5u", "x5c", "zip", "b64", "enc"}

// verify checks the signature with a key that belongs to the token's algorithm,
// then the claims.
func (s *state) verify(raw string, jwksServiceClaim bool, d demands) (verified, error) {
	// The decoder skips line breaks: without this check, one signature would be
	// valid for many texts.
	if !isJWTText(raw) {
		return verified{}, errMalformed
	}
	// The library does not check dates: they are checked at each use, of cached
	// tokens too.
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{algHS256, algRS256, algES256}),
		jwt.WithoutClaimsValidation(),
		jwt.WithStrictDecoding(),
	)
	c := &jsonClaims{}
	token, err := parser.ParseWithClaims(raw, c, s.keyFor)
	if err != nil || !token.Valid {
		return verified{}, reasonOf(err)
	}
	if err := d.check(&c.claims); err != nil {
		return verified{}, err
	}
	return c.principal(token.Method == jwt.SigningMethodHS256 || jwksServiceClaim)
}

// isJWTText reports whether s holds nothing but the alphabet of base64url and
// dots.
func isJWTText(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// keyFor returns the key or keys for a token. The algorithm alone determines
// the type of the key: an RSA key never becomes the bytes of an HMAC key.
func (s *state) keyFor(t *jwt.Token) (any, error) {
	for _, name := range refusedHeaders {
		if _, there := t.Header[name]; there {
			return nil, errHeader
		}
	}
	kid, err := kidOf(t.Header)
	if err != nil {
		return nil, err
	}
	switch t.Method {
	case jwt.SigningMethodHS256:
		if s.hmac == nil {
			return nil, errNoKey
		}
		return s.hmac, nil
	case jwt.SigningMethodRS256, jwt.SigningMethodES256:
		return s.publicKeys(t.Method.Alg(), kid)
	}
	return nil, errAlgorithm
}

// kidOf returns the kid of the header, "" if there is none.
func kidOf(header map[string]any) (string, error) {
	v, there := header["kid"]
	if !there {
		return "", nil
	}
	kid, ok := v.(string)
	if !ok {
		return "", errHeader
	}
	return kid, nil
}

// publicKeys returns the keys to try for a token: those of its algorithm with
// the same kid or without one, or all of its algorithm if the token has no kid.
func (s *state) publicKeys(alg, kid string) (any, error) {
	var set jwt.VerificationKeySet
	for _, k := range s.jwks {
		if k.alg == alg && (kid == "" || k.kid == "" || k.kid == kid) {
			set.Keys = append(set.Keys, k.key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errNoKey
	}
	return set, nil
}

// jsonClaims makes claims acceptable to the JWT library, whose own checks of
// dates, issuer and audience are switched off.
type jsonClaims struct{ claims }

func (*jsonClaims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (*jsonClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (*jsonClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (*jsonClaims) GetIssuer() (string, error)                   { return "", nil }
func (*jsonClaims) GetSubject() (string, error)                  { return "", nil }
func (*jsonClaims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// reasonOf maps an error of the JWT library to one of ours, because its texts
// may quote the token.
func reasonOf(err error) error {
	for _, own := range []error{errHeader, errAlgorithm, errNoKey, errClaims} {
		if errors.Is(err, own) {
			return own
		}
	}
	if errors.Is(err, jwt.ErrTokenMalformed) || errors.Is(err, jwt.ErrTokenUnverifiable) {
		return errMalformed
	}
	return errSignature
}
