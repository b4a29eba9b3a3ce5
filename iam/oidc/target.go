package oidc

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"unicode"
)

// ShowToken is the target that shows the token in a page, for people who paste it
// into a command line.
const ShowToken = "dcos:authenticationresponse:html"

// Pages is the target that starts a session of the pages for people. With a slash and
// the address of one of them, relative to the first, the browser then goes there.
const Pages = "secretstore:pages"

const maxTarget = 1 << 10

// ErrTarget refuses where a browser would go after a sign-in.
var ErrTarget = errors.New("the target must be a path of this server, " + ShowToken + ", or with a code_challenge http://127.0.0.1:PORT/PATH")

// Target is where a browser goes after a sign-in.
type Target struct {
	// Place is a path of this server, [ShowToken], [Pages], or the URL of a program on the
	// computer of the browser.
	Place string `json:"target"`
	// Challenge, if not empty, says that Place is a program. The program gets a
	// code in place of a token: it has to show that it made the challenge.
	Challenge string `json:"challenge,omitempty"`
	// Page is where a browser goes if Place is [Pages]; "" is the first page.
	Page string `json:"page,omitempty"`
}

// ParseTarget reads where a browser should go: [ShowToken], [Pages], a path of this server
// ("/" if place is empty), or with a challenge a program that listens on a loopback
// address. ErrTarget.
func ParseTarget(place, challenge string) (Target, error) {
	ok := false
	switch page, isOfPages := strings.CutPrefix(place, Pages+"/"); {
	case isOfPages && challenge == "" && isPage(page):
		return Target{Place: Pages, Page: page}, nil
	case challenge != "":
		ok = isLoopback(place) && isChallenge(challenge)
	case place == "":
		place, ok = "/", true
	case place == ShowToken, place == Pages:
		ok = true
	default:
		ok = isPath(place)
	}
	if !ok {
		return Target{}, ErrTarget
	}
	return Target{Place: place, Challenge: challenge}, nil
}

// isPage reports whether s can be the address of a page, relative to the others: a name
// of lower-case letters and hyphens, and perhaps a query.
func isPage(s string) bool {
	name, query, _ := strings.Cut(s, "?")
	return printable(s, maxTarget) && name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz-") == "" && !strings.ContainsAny(query, " \\#\"'<>")
}

// isPath reports whether a browser stays at this server. Browsers take \ for /, drop
// control characters, and read two slashes at the beginning as another server. A proxy
// that decodes the path, or resolves its dot segments, must not make such an address
// of it, so these are refused too. The query and the fragment lead nowhere.
func isPath(s string) bool {
	if !printable(s, maxTarget) || strings.ContainsAny(s, "\\ ") {
		return false
	}
	path := s
	if end := strings.IndexAny(s, "?#"); end >= 0 {
		path = s[:end]
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return false
	}
	for isPlain(path) {
		if err != nil || decoded == path {
			return true // it cannot be decoded any further
		}
		path = decoded
		decoded, err = url.PathUnescape(path)
	}
	return false
}

// isPlain reports whether a path begins with a slash, and no segment of it is empty, is
// a dot segment, or has a backslash or a control character.
func isPlain(path string) bool {
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.Contains(path, `\`) || strings.ContainsFunc(path, unicode.IsControl) {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// isLoopback reports whether s is http://127.0.0.1:PORT/PATH or http://[::1]:PORT/PATH,
// spelled in this way. A name such as localhost may lead elsewhere.
func isLoopback(s string) bool {
	if !printable(s, maxTarget) || strings.ContainsAny(s, "\\ ?#%") {
		return false
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Path == "" {
		return false
	}
	at, err := netip.ParseAddrPort(u.Host)
	if err != nil || at.Port() == 0 || "http://"+at.String()+u.Path != s {
		return false
	}
	return at.Addr() == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || at.Addr() == netip.IPv6Loopback()
}

// isChallenge reports whether s is a challenge of RFC 7636 with the method S256.
func isChallenge(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 32
}
