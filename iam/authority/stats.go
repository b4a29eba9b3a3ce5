package authority

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Result is how a sign-in ended.
type Result string

// The results of sign-ins.
const (
	SignedIn    Result = "signed_in"
	Refused     Result = "refused"     // wrong credentials
	Limited     Result = "limited"     // too many have failed
	Overload    Result = "overload"    // too many at once
	Unavailable Result = "unavailable" // sealed, not loaded, or the client has left
)

// Results returns all results.
func Results() []Result { return []Result{SignedIn, Refused, Limited, Overload, Unavailable} }

// counters count sign-ins by result.
type counters struct {
	signedIn, refused, limited, overload, unavailable atomic.Uint64
}

func (c *counters) of(r Result) *atomic.Uint64 {
	switch r {
	case SignedIn:
		return &c.signedIn
	case Refused:
		return &c.refused
	case Limited:
		return &c.limited
	case Overload:
		return &c.overload
	}
	return &c.unavailable
}

// count counts a sign-in that ended with err.
func (c *counters) count(err error) {
	result := Unavailable
	var tooMany *TooMany
	var busy *Busy
	switch {
	case err == nil:
		result = SignedIn
	case errors.Is(err, ErrCredentials):
		result = Refused
	case errors.As(err, &tooMany):
		result = Limited
	case errors.As(err, &busy):
		result = Overload
	}
	c.of(result).Add(1)
}

// SignIns returns how many sign-ins have ended with r.
func (a *Authority) SignIns(r Result) uint64 { return a.signIns.of(r).Load() }

// Entries returns how many users, groups and ACLs there are, and how many records
// are damaged. They are 0 while the store is sealed.
func (a *Authority) Entries() (users, groups, acls, damaged int) {
	s := a.state.Load()
	return len(s.directory.Users()), len(s.directory.Groups()), len(s.directory.ACLs()), s.damage()
}

// Warnings returns what operators should know.
func (a *Authority) Warnings() []string {
	if n := a.state.Load().damage(); n > 0 {
		return []string{fmt.Sprintf("iam: %d records of the identities are damaged: they grant nothing; restore them, or make the entries again", n)}
	}
	return nil
}

// damage returns how many records are damaged.
func (s *state) damage() int { return s.damaged + len(s.bad) }
