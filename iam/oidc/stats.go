package oidc

import (
	"errors"
	"strings"

	"go.uber.org/zap"
)

// count counts the result of a sign-in, and logs why a provider is not available.
func (s *Service) count(err error) error {
	var refused *Refused
	var away *Unavailable
	switch {
	case err == nil:
		s.signedIn.Add(1)
	case errors.As(err, &refused):
		s.refused.Add(1)
	case errors.As(err, &away):
		s.unavailable.Add(1)
		// The text may be of the provider.
		cause := strings.ToValidUTF8(away.Cause.Error(), "\uFFFD")
		if len(cause) > 300 {
			cause = strings.ToValidUTF8(cause[:300], "") + "…"
		}
		s.log.Warn("an OpenID Connect provider is not available", zap.String("provider", away.Provider), zap.String("cause", cause))
	}
	return err
}

// Counts are how many sign-ins have ended in which way. Others have failed in this
// server or in its storage.
type Counts struct {
	SignedIn, Refused uint64
	Limited           uint64 // too many have failed
	Unavailable       uint64 // the provider
}

// Counts returns the numbers since the start.
func (s *Service) Counts() Counts {
	return Counts{s.signedIn.Load(), s.refused.Load(), s.limited.Load(), s.unavailable.Load()}
}
