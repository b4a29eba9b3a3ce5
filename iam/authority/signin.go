package authority

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"

	"secretstore/acl/token"
	"secretstore/iam"
	"secretstore/iam/attempts"
	"secretstore/iam/password"
	"secretstore/internal/clientnet"
)

// ErrCredentials refuses a sign-in. It does not say why.
var ErrCredentials = errors.New("invalid credentials")

// TooMany refuses a sign-in because too many have failed.
type TooMany struct{ RetryAfter time.Duration }

func (e *TooMany) Error() string {
	return fmt.Sprintf("too many sign-ins have failed: try again in %s", e.RetryAfter.Round(time.Second))
}

// Busy refuses a sign-in because too many others wait for the processors.
type Busy struct{ RetryAfter time.Duration }

func (e *Busy) Error() string { return password.ErrBusy.Error() }

// busyPause is when to try again after a Busy.
const busyPause = 5 * time.Second

// SignIn signs a person in. uid is as the client sent it. The identity is that of
// the moment before the password was verified. ErrCredentials, *TooMany, *Busy, the
// errors of Directory and of ctx.
//
// While Directory returns an error, only superusers of the file can sign in, and
// that error is the answer to all others, so that it does not show who is named
// there.
func (a *Authority) SignIn(ctx context.Context, uid string, pass []byte, from netip.Addr) (iam.Identity, error) {
	c := a.credentials(uid)
	err := a.verify(ctx, clientOf(uid, from), c, pass)
	a.signIns.count(err)
	if err != nil {
		return iam.Identity{}, err
	}
	a.Used(c.who.UID)
	a.upkeep.rehash(c, pass)
	return c.who, nil
}

// credentials are what a password is verified against.
type credentials struct {
	who  iam.Identity
	hash password.Hash
	text string // of the hash, as the account has it; "" if it is that of the file
	cost int    // of a refusal
	// otherwise is the error of a refusal.
	otherwise error
}

// credentials returns those of a uid, or some that no password matches.
func (a *Authority) credentials(uid string) credentials {
	s, err := a.usable()
	c := credentials{otherwise: ErrCredentials}
	if err != nil {
		s, c.otherwise = a.state.Load(), err
	}
	c.cost = s.highestCost(a.rounds)
	c.hash = password.Decoy(c.cost)
	if h, ok := s.file.hashes[iam.UID(uid)]; ok {
		c.who, c.hash = iam.FileIdentity(iam.UID(uid), h.String()), h
		return c
	}
	if err != nil {
		return c
	}
	u, err := s.directory.User(iam.UID(uid))
	if err != nil || u.IsRemote() || u.IsService() {
		return c
	}
	if h, err := password.Parse(u.Hash); err == nil {
		c.who, c.hash, c.text = iam.Identity{UID: u.UID, Generation: u.Generation}, h, u.Hash
	}
	return c
}

// verify verifies a password, within the limits of attempts.
func (a *Authority) verify(ctx context.Context, client iam.Client, c credentials, pass []byte) error {
	attempt, err := a.begin(client)
	if err != nil {
		return err
	}
	ok, err := a.workers.Verify(ctx, client, c.hash, pass, c.cost)
	switch {
	case err != nil: // before anything was verified
		attempt.Withdraw()
		return busy(err)
	case !ok || c.who == iam.Identity{}:
		return c.otherwise
	}
	attempt.Succeeded(a.now())
	return nil
}

// Attempt runs try, another way for somebody at from to sign in, within the limits of
// attempts. uid is what failures are counted for, and need not be an
// account. A failure is an error that refusal accepts: others say nothing about the
// client. *TooMany, and the error of try.
func (a *Authority) Attempt(uid string, from netip.Addr, try func() error, refusal func(error) bool) error {
	attempt, err := a.begin(clientOf(uid, from))
	if err != nil {
		return err
	}
	err = try()
	switch {
	case err == nil:
		attempt.Succeeded(a.now())
	case !refusal(err):
		attempt.Withdraw()
	}
	return err
}

// begin begins an attempt to sign in. *TooMany.
func (a *Authority) begin(client iam.Client) (attempts.Attempt, error) {
	attempt, wait := a.limits.Begin(client, a.now())
	if wait > 0 {
		return attempts.Attempt{}, &TooMany{RetryAfter: wait}
	}
	return attempt, nil
}

func busy(err error) error {
	if errors.Is(err, password.ErrBusy) {
		return &Busy{RetryAfter: busyPause}
	}
	return err
}

// clientOf returns who signs in. Of a uid that is too long for an account, only the
// beginning counts.
func clientOf(uid string, from netip.Addr) iam.Client {
	return iam.Client{UID: iam.UID(uid[:min(len(uid), iam.MaxUIDBytes+1)]), Network: clientnet.Of(from)}
}

// SignInService signs a service in with a login token, which it has signed with one
// of its keys. Its errors are those of SignIn.
func (a *Authority) SignInService(ctx context.Context, uid, raw string, from netip.Addr) (iam.Identity, error) {
	who, err := a.signInService(ctx, uid, raw, from)
	a.signIns.count(err)
	if err != nil {
		return iam.Identity{}, err
	}
	a.Used(who.UID)
	return who, nil
}

func (a *Authority) signInService(ctx context.Context, uid, raw string, from netip.Addr) (iam.Identity, error) {
	if err := ctx.Err(); err != nil {
		return iam.Identity{}, err
	}
	s, err := a.usable()
	if err != nil {
		return iam.Identity{}, err // a service is never named by the file
	}
	attempt, err := a.begin(clientOf(uid, from))
	if err != nil {
		return iam.Identity{}, err
	}
	u, err := s.directory.User(iam.UID(uid))
	keys := []*rsa.PublicKey{a.decoy}
	if err == nil && !s.directory.OfFile(u.UID) {
		if own := publicKeys(u, a.now()); len(own) > 0 {
			keys = own
		}
	}
	claimed, err := token.VerifyLogin(raw, keys, a.now())
	if err != nil || u == nil || claimed != uid || keys[0] == a.decoy {
		return iam.Identity{}, ErrCredentials
	}
	attempt.Succeeded(a.now())
	return iam.Identity{UID: u.UID, Generation: u.Generation}, nil
}

// publicKeys returns the keys of an account that count.
func publicKeys(u *iam.User, now time.Time) []*rsa.PublicKey {
	var all []*rsa.PublicKey
	for _, k := range u.Keys {
		if k.Ended(now) {
			continue
		}
		block, _ := pem.Decode([]byte(k.PEM))
		if block == nil {
			continue
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if key, ok := parsed.(*rsa.PublicKey); ok && err == nil {
			all = append(all, key)
		}
	}
	return all
}

// decoyKey returns a key that no one can sign with: refusing an account that does
// not exist with it takes as long as refusing a wrong signature.
func decoyKey() *rsa.PublicKey {
	const size = 2048 / 8
	var n [size]byte
	rand.Read(n[:]) // never fails
	n[0] |= 0x80
	n[size-1] |= 1
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n[:]), E: 65537}
}

// HashPassword hashes a new password of any account for the user who, in the queue
// of those who sign in.
// *Busy, the error of ctx, or one with the code iam.InvalidData.
func (a *Authority) HashPassword(ctx context.Context, who string, pass []byte, from netip.Addr) (string, error) {
	if err := iam.CheckPassword(pass); err != nil {
		return "", err
	}
	if len(pass) > password.MaxBytes {
		return "", &iam.Error{Code: iam.InvalidData, Text: fmt.Sprintf("Password does not match rules: Must be at most %d bytes long.", password.MaxBytes)}
	}
	h, err := a.workers.Hash(ctx, clientOf(who, from), pass)
	if err != nil {
		return "", busy(err)
	}
	return h.String(), nil
}
