// Package hostport reads the host and port of a URL or of a Host header, which
// anybody may have written.
package hostport

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// ErrInvalid means that a text is not a host, or not a host and a port.
var ErrInvalid = errors.New("not a host name or address, with or without a port")

// maxName is the longest name of a host, in bytes.
const maxName = 253

// Split returns the host of "host", "host:port", "[address]" or "[address]:port", and
// the port, 0 if there is none. A host is an address, in brackets if it is one of IPv6,
// or a name of letters, digits, '.', '_' and '-'. So it can be written into a URL or a
// header as it is. ErrInvalid.
func Split(s string) (host string, port uint16, err error) {
	host = s
	if at := strings.LastIndexByte(s, ':'); at >= 0 && !strings.HasSuffix(s, "]") {
		n, err := strconv.ParseUint(s[at+1:], 10, 16) // takes no sign
		if err != nil || n == 0 {
			return "", 0, ErrInvalid
		}
		host, port = s[:at], uint16(n)
	}
	if !validName(host) && !validAddress(host) {
		return "", 0, ErrInvalid
	}
	return host, port, nil
}

func validName(s string) bool {
	return s != "" && len(s) <= maxName && s[0] != '-' && s[0] != '.' &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return r != '.' && r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		})
}

// validAddress accepts an address of IPv6 in brackets, without a zone.
func validAddress(s string) bool {
	inside, opened := strings.CutPrefix(s, "[")
	inside, closed := strings.CutSuffix(inside, "]")
	addr, err := netip.ParseAddr(inside)
	return opened && closed && err == nil && addr.Is6() && addr.Zone() == ""
}

// Join returns host, which is from Split, with the port; https has 443 by itself.
func Join(host string, port uint16) string {
	if port == 0 || port == 443 {
		return host
	}
	return host + ":" + strconv.Itoa(int(port))
}
