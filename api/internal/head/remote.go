package head

import (
	"net/http"
	"net/netip"
	"strings"

	"secretstore/internal/clientnet"
)

// RemoteAddress returns the address of the client: the peer's or, if the peer
// is a trusted proxy, the one that the proxies report. It reads X-Forwarded-For
// from the right; the first address that is not a trusted proxy is the client,
// which wrote everything to the left of it.
func RemoteAddress(r *http.Request, trusted []netip.Prefix) string {
	peer := hostOf(r.RemoteAddr)
	if len(trusted) == 0 {
		return peer
	}
	addr, err := netip.ParseAddr(peer)
	if err != nil || !clientnet.Within(addr, trusted) {
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
				return addr.Unmap().String() // the last address that a trusted proxy reported
			}
			addr = next
			if !clientnet.Within(addr, trusted) {
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

// hostOf cuts the port off the peer's address.
func hostOf(hostport string) string {
	cut := strings.LastIndexByte(hostport, ':')
	if cut < 0 {
		return hostport
	}
	return strings.Trim(hostport[:cut], "[]")
}
