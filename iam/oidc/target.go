package oidc

import (
	"errors"
	"strings"
)

// ShowToken is the target that shows the token in a page, for people who paste it
// into a command line.
const ShowToken = "dcos:authenticationresponse:html"

const maxTarget = 1 << 10

// ErrTarget refuses where a browser would go after a sign-in.
var ErrTarget = errors.New("the target must be a path of this server, or " + ShowToken)

// ParseTarget returns where a browser goes after a sign-in: [ShowToken], or a path
// of this server. Without one it is "/". ErrTarget.
func ParseTarget(s string) (string, error) {
	if s == "" {
		return "/", nil
	}
	if s == ShowToken {
		return s, nil
	}
	// Browsers take \ for /, drop control characters, and read two slashes at the
	// beginning as another server.
	if !printable(s, maxTarget) || s[0] != '/' || strings.HasPrefix(s, "//") || strings.ContainsAny(s, "\\ ") {
		return "", ErrTarget
	}
	return s, nil
}
