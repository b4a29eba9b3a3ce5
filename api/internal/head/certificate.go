package head

import (
	"crypto/x509"
	"net/http"
	"net/netip"
	"strings"

	"secretstore/api/internal/problem"
	"secretstore/internal/clientnet"
)

const (
	textCertificateOrigin = "a client certificate permits a browser only GET and HEAD, and other methods only from pages of this server: send an Authorization header"
	textCertificateProxy  = "a client certificate does not count through a proxy, because it would be the proxy's: send an Authorization header"
)

// HasCertificate reports whether the client has shown a certificate in TLS.
func HasCertificate(r *http.Request) bool { return r.TLS != nil && len(r.TLS.PeerCertificates) > 0 }

// Certificate returns the certificate that the client has shown, followed by
// those of its authorities; or a 401 for a request that may be the client's only
// by accident.
func Certificate(r *http.Request, trusted []netip.Prefix) ([]*x509.Certificate, error) {
	// The connection is the proxy's then, and anybody may be behind it.
	if viaProxy(r, trusted) {
		return nil, problem.Unauthorized(textCertificateProxy)
	}
	// As with the cookie, any page can make a browser use the certificate. But
	// other programs use it too, and they do not say where a request comes from;
	// browsers always do with these methods.
	if changes(r) && fromBrowser(r) && !sameOrigin(r) {
		return nil, problem.Unauthorized(textCertificateOrigin)
	}
	return r.TLS.PeerCertificates, nil
}

// fromBrowser reports whether a header says that a browser made the request.
func fromBrowser(r *http.Request) bool {
	for name := range r.Header {
		if name == "Origin" || strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	return false
}

// viaProxy reports whether a proxy has made the connection: its address is that
// of one, or it says so.
func viaProxy(r *http.Request, trusted []netip.Prefix) bool {
	peer, err := netip.ParseAddr(hostOf(r.RemoteAddr))
	if err != nil || clientnet.Within(peer, trusted) {
		return true
	}
	for name := range r.Header {
		if name == "Via" || name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return false
}
