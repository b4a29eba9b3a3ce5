package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// remoteAddress returns the address of the client: the peer's, or, where the
// peer is a trusted proxy, what the proxies report. X-Forwarded-For is read
// from the right, and the first address that is no trusted proxy is the
// client: all to the left of it was written by that client.
func remoteAddress(r *http.Request, trusted []netip.Prefix) string {
	peer := hostOf(r.RemoteAddr)
	if len(trusted) == 0 {
		return peer
	}
	addr, err := netip.ParseAddr(peer)
	if err != nil || !within(addr, trusted) {
		return peer
	}
	headers := r.Header["X-Forwarded-For"]
	for i := len(headers) - 1; i >= 0; i-- {
		rest := headers[i]
		for more := true; more; {
			var hop string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, hop = rest[:cut], rest[cut+1:]
			} else {
				hop, more = rest, false
			}
			next, err := parseHop(strings.TrimSpace(hop))
			if err != nil {
				return addr.Unmap().String() // the last address that somebody trusted vouches for
			}
			addr = next
			if !within(addr, trusted) {
				return addr.Unmap().String()
			}
		}
	}
	return addr.Unmap().String()
}

// parseHop reads one entry of X-Forwarded-For; some proxies add the port.
func parseHop(s string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, nil
	}
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr(), err
}

func within(a netip.Addr, prefixes []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// hostOf cuts the port off the peer's address.
func hostOf(hostport string) string {
	cut := strings.LastIndexByte(hostport, ':')
	if cut < 0 {
		return hostport
	}
	return strings.Trim(hostport[:cut], "[]")
}
