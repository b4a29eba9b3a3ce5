package oidc

import (
	"crypto/subtle"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"secretstore/iam"
)

// codeLife is how long a program has to fetch the token of a sign-in.
const codeLife = time.Minute

// code is a sign-in whose token a program has still to fetch. A browser carries it,
// encrypted, so that each server can make the token.
type code struct {
	ID         string         `json:"id"` // random
	UID        iam.UID        `json:"uid"`
	Generation iam.Generation `json:"generation"`
	Challenge  string         `json:"challenge"`
	Expires    time.Time      `json:"expires"`
}

// The bounds of a verifier are those of RFC 7636.
const (
	minVerifier = 43
	maxVerifier = 128
)

// check reports whether a verifier is that of the challenge, and the code has not
// expired.
func (c *code) check(verifier string, now time.Time) bool {
	if c.ID == "" || c.Challenge == "" || !now.Before(c.Expires) || len(verifier) < minVerifier || len(verifier) > maxVerifier {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(c.Challenge), []byte(oauth2.S256ChallengeFromVerifier(verifier))) == 1
}

// usedCodes are the codes that this server has exchanged and that have not expired.
// Only codes that were good get here, so sign-ins bound their number.
type usedCodes struct {
	mu   sync.Mutex
	ends map[string]time.Time // by ID, guarded by mu
}

// use reports whether it is called for the code for the first time.
func (u *usedCodes) use(c *code, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, end := range u.ends {
		if !now.Before(end) {
			delete(u.ends, id)
		}
	}
	if _, used := u.ends[c.ID]; used {
		return false
	}
	if u.ends == nil {
		u.ends = make(map[string]time.Time)
	}
	u.ends[c.ID] = c.Expires
	return true
}

// newCode returns the code for a program that has made challenge.
func (s *Service) newCode(who iam.Identity, challenge string) (string, error) {
	c := &code{randomText(), who.UID, who.Generation, challenge, s.now().Add(codeLife)}
	return sealText(s.accounts.Records(stateRecord)[stateRecord], codeLabel, c)
}

// Exchange returns who a code of [Service.Finish] is for. verifier shows that the
// program which began the sign-in asks. Each server takes a code once. *Refused, and
// the errors of Directory.
func (s *Service) Exchange(raw, verifier string) (iam.Identity, error) {
	if _, err := s.accounts.Directory(); err != nil {
		return iam.Identity{}, err
	}
	var c code
	err := openText(s.accounts.Records(stateRecord)[stateRecord], codeLabel, raw, &c)
	now := s.now()
	if err != nil || !c.check(verifier, now) || !s.used.use(&c, now) {
		return iam.Identity{}, &Refused{textCode}
	}
	return iam.Identity{UID: c.UID, Generation: c.Generation}, nil
}
