// Package redirect says where HTTPS is to be found by a client that came by plain
// HTTP.
package redirect

import (
	"net/http"
	"strings"

	"secretstore/internal/hostport"
)

// Site is where a server is reached by HTTPS. The zero Site is nowhere.
type Site struct {
	// Host is the host that clients know the server by, with a port if it is not
	// 443. If it is empty, the host of each request is taken, with Port.
	Host string
	// Port is that of the HTTPS address. 0: none is served.
	Port uint16
}

// Exists reports whether HTTPS is served.
func (s Site) Exists() bool { return s.Port != 0 }

// Origin returns the beginning of all addresses of the site, as a client sees it that
// has sent this Host header. hostport.ErrInvalid.
func (s Site) Origin(header string) (string, error) {
	if s.Host != "" {
		return "https://" + s.Host, nil
	}
	host, _, err := hostport.Split(header)
	if err != nil {
		return "", err
	}
	return "https://" + hostport.Join(host, s.Port), nil
}

// Target returns the path and the query of a request as they were sent: a path keeps
// its %2F. It begins with a slash, so that it cannot change the origin in front of it,
// and is printable ASCII.
func Target(r *http.Request) string {
	target := r.URL.EscapedPath()
	if !strings.HasPrefix(target, "/") {
		target = "/" // OPTIONS *, or no path at all
	}
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	return escape(target)
}

// escape escapes what is not printable ASCII.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
