package authority

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"secretstore/iam"
)

// ErrCredentials refuses a sign-in. It does not say why.
var ErrCredentials = errors.New("invalid credentials")

// TooMany refuses a sign-in because too many have failed.
type TooMany struct{ RetryAfter time.Duration }

func (e *TooMany) Error() string {
	return fmt.Sprintf("too many sign-ins have failed: try again in %s", e.RetryAfter)
}

// Busy refuses a sign-in because too many others wait for the processors.
type Busy struct{ RetryAfter time.Duration }

func (e *Busy) Error() string { return "too many sign-ins at once: try again later" }

// SignIn signs a person in. uid is as the client sent it. The identity is that of
// the moment before the password was verified. ErrCredentials, *TooMany, *Busy, the
// errors of Directory and of ctx.
func (a *Authority) SignIn(ctx context.Context, uid string, password []byte, from netip.Addr) (iam.Identity, error) {
	return iam.Identity{}, ErrCredentials
}

// SignInService signs a service in with a login token, which it has signed with one
// of its keys. until is when it wants its own token to end; zero if it does not
// say. Its errors are those of SignIn.
func (a *Authority) SignInService(ctx context.Context, uid, token string, from netip.Addr) (who iam.Identity, until time.Time, err error) {
	return iam.Identity{}, time.Time{}, ErrCredentials
}
