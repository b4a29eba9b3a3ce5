package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"secretstore/acl"
)

// Leeway is how much the clocks of issuer and server may differ.
const Leeway = 30 * time.Second

// maxNumericDate is the end of the year 9999: a later date is a mistake, and
// could overflow time arithmetic.
const maxNumericDate = 253402300799

// Reasons for refusing the claims of a token with a good signature.
var (
	errClaims    = errors.New("claims are not one JSON object with distinct keys")
	errUID       = errors.New("claim uid is missing or not a user id")
	errDate      = errors.New("claim exp or nbf is not a date")
	errIssuer    = errors.New("claim iss is not an issuer that is accepted")
	errAudience  = errors.New("claim aud does not name this audience")
	errService   = errors.New("claim service is not one service id")
	errExpired   = errors.New("expired")
	errNotYet    = errors.New("not valid yet")
	errNotObject = errors.New("not a JSON object")
)

// claims are the claims that are used, by their exact names. All others are
// ignored.
type claims struct {
	uid     json.RawMessage
	exp     json.RawMessage
	nbf     json.RawMessage
	service json.RawMessage
	iss     json.RawMessage
	aud     json.RawMessage
	gen     json.RawMessage
}

// UnmarshalJSON is stricter than a struct would be: encoding/json matches names
// without regard to case ("UID") and lets the last of several equal names win,
// so that issuer and server could see two users in one token.
func (c *claims) UnmarshalJSON(data []byte) error {
	fields, err := distinctFields(data)
	if err != nil {
		return errClaims
	}
	*c = claims{
		uid: fields["uid"], exp: fields["exp"], nbf: fields["nbf"], service: fields["service"],
		iss: fields["iss"], aud: fields["aud"], gen: fields["gen"],
	}
	return nil
}

// distinctFields splits a JSON object, refusing repeated keys at its top level.
func distinctFields(data []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotObject
	}
	fields := make(map[string]json.RawMessage)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, errNotObject
		}
		key, _ := t.(string) // unreachable otherwise: keys of objects are strings
		if _, dup := fields[key]; dup {
			return nil, errClaims
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNotObject
		}
		fields[key] = value
	}
	return fields, nil
}

// principal checks the claims themselves; their dates are checked against the
// clock at each use.
func (c *claims) principal(serviceCounts bool) (verified, error) {
	uid, ok := jsonString(c.uid)
	if !ok || !acl.ValidUID(uid) {
		return verified{}, errUID
	}
	v := verified{principal: acl.Principal{UID: uid}}
	v.generation, _ = c.generation()
	exp, hasExp, err := numericDate(c.exp)
	if err != nil {
		return verified{}, err
	}
	if hasExp {
		v.principal.Expires = exp.Add(Leeway)
	}
	nbf, hasNbf, err := numericDate(c.nbf)
	if err != nil {
		return verified{}, err
	}
	if hasNbf {
		v.notBefore = nbf.Add(-Leeway)
	}
	if c.service == nil || !serviceCounts {
		return v, nil
	}
	id, ok := jsonString(c.service)
	if !ok || id == "" {
		return verified{}, errService
	}
	service, err := acl.ParseService(id)
	if err != nil {
		return verified{}, errService
	}
	v.principal.Service = acl.BindTo(service)
	return v, nil
}

// generation returns the claim gen, if it is that of an account token.
func (c *claims) generation() (string, bool) {
	gen, ok := jsonString(c.gen)
	if !ok || !isHex(gen, generationDigits) {
		return "", false
	}
	return gen, true
}

// demands are the issuers and audiences that a token can name. Where there are
// none, the claim is not read.
type demands struct{ issuers, audiences []string }

// check returns nil if iss is one of the issuers, and aud is or has one of the
// audiences.
func (d demands) check(c *claims) error {
	if len(d.issuers) > 0 {
		iss, ok := jsonString(c.iss)
		if !ok || !slices.Contains(d.issuers, iss) {
			return errIssuer
		}
	}
	if len(d.audiences) == 0 {
		return nil
	}
	named := []json.RawMessage{c.aud}
	if bytes.HasPrefix(c.aud, []byte{'['}) && json.Unmarshal(c.aud, &named) != nil {
		return errAudience
	}
	found := false
	for _, raw := range named {
		aud, ok := jsonString(raw)
		if !ok {
			return errAudience // not what an issuer writes
		}
		found = found || slices.Contains(d.audiences, aud)
	}
	if !found {
		return errAudience
	}
	return nil
}

// jsonString reads a JSON string; null is not one.
func jsonString(raw json.RawMessage) (string, bool) {
	var s *string
	if raw == nil || json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// numericDate reads seconds since 1970, fractions allowed. Anything else, null
// included, is an error: a token that should expire must not live for ever. So
// is a negative number: one of them is the zero time, which means "no limit".
func numericDate(raw json.RawMessage) (time.Time, bool, error) {
	if raw == nil {
		return time.Time{}, false, nil
	}
	var f *float64
	if json.Unmarshal(raw, &f) != nil || f == nil || *f < 0 || *f > maxNumericDate {
		return time.Time{}, false, errDate
	}
	sec, frac := math.Modf(*f)
	return time.Unix(int64(sec), int64(frac*1e9)), true, nil
}
