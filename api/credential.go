package api

import (
	"net/http"
	"net/url"
	"strings"

	"secretstore/acl"
	"secretstore/api/wire"
)

// Authenticator says who a token stands for. The zero Principal is nobody.
// Its errors are logged, never sent, and hold no part of the token.
type Authenticator interface {
	Verify(raw string) (acl.Principal, error)
}

// maxToken is the longest token that is looked at.
const maxToken = 16 << 10

// credential finds the token of a request. An Authorization header, whatever
// it holds, overrides the cookie.
func credential(r *http.Request) (string, error) {
	if headers := r.Header["Authorization"]; len(headers) > 0 {
		if len(headers) > 1 {
			return "", unauthorized("several Authorization headers: send one")
		}
		raw, ok := headerToken(headers[0])
		if !ok {
			return "", unauthorized(textUnauthorized)
		}
		return raw, nil
	}
	raw, err := cookieToken(r)
	if err != nil {
		return "", err
	}
	// Any page can make a browser send the cookie along; only a request that
	// changes nothing, or comes from a page of this server, may rely on it.
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !sameOrigin(r) {
		return "", unauthorized("a cookie alone permits GET and HEAD, and other methods from pages of this server: send an Authorization header")
	}
	return raw, nil
}

func headerToken(v string) (string, bool) {
	const token, bearer = "token=", "Bearer "
	switch {
	case len(v) > len(token) && strings.EqualFold(v[:len(token)], token):
		v = v[len(token):]
	case len(v) > len(bearer) && strings.EqualFold(v[:len(bearer)], bearer):
		v = strings.TrimLeft(v[len(bearer):], " ")
	default:
		return "", false
	}
	return v, v != "" && len(v) <= maxToken
}

// cookieToken returns the cookie's token. Several cookies of that name are
// refused: a page on a neighbouring host can plant a second one.
func cookieToken(r *http.Request) (string, error) {
	if len(r.Header["Cookie"]) == 0 {
		return "", unauthorized(textUnauthorized)
	}
	cookies := r.CookiesNamed(wire.TokenCookie)
	switch {
	case len(cookies) > 1:
		return "", unauthorized("several " + wire.TokenCookie + " cookies: log in again")
	case len(cookies) == 0, cookies[0].Value == "", len(cookies[0].Value) > maxToken:
		return "", unauthorized(textUnauthorized)
	}
	return cookies[0].Value, nil
}

// sameOrigin reports whether the browser says that a page of this server made
// the request. What it does not say is a no.
func sameOrigin(r *http.Request) bool {
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return len(site) == 1 && site[0] == "same-origin"
	}
	origins := r.Header["Origin"]
	if len(origins) != 1 || r.Host == "" {
		return false
	}
	u, err := url.Parse(origins[0])
	if err != nil || !strings.EqualFold(u.Host, r.Host) {
		return false
	}
	// Behind a proxy that ends TLS the page is https and the request is not; a
	// plain page, which anybody on the way can forge, is never of an https server.
	return u.Scheme == "https" || (u.Scheme == "http" && r.TLS == nil)
}
