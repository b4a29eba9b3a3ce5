package head

import (
	"net/http"
	"net/url"
	"strings"

	"secretstore/api/internal/problem"
	"secretstore/api/wire"
)

// maxToken is the length of the longest token, in bytes.
const maxToken = 16 << 10

// HasToken reports whether a request shows a token, or what should be one. Then
// nothing else says who the client is.
func HasToken(r *http.Request) bool {
	return len(r.Header["Authorization"]) > 0 || len(r.Header["Cookie"]) > 0 && len(r.CookiesNamed(wire.TokenCookie)) > 0
}

// Token returns the token of a request, or a 401. An Authorization header,
// whatever it holds, overrides the cookie.
func Token(r *http.Request) (string, error) {
	if headers := r.Header["Authorization"]; len(headers) > 0 {
		if len(headers) > 1 {
			return "", problem.Unauthorized("several Authorization headers: send one")
		}
		raw, ok := headerToken(headers[0])
		if !ok {
			return "", problem.Unauthorized(problem.NoToken)
		}
		return raw, nil
	}
	raw, err := cookieToken(r)
	if err != nil {
		return "", err
	}
	// Any page can make a browser send the cookie. So it only counts for a
	// request that changes nothing, or comes from a page of this server.
	if changes(r) && !sameOrigin(r) {
		return "", problem.Unauthorized("a cookie alone permits only GET and HEAD, and other methods only from pages of this server: send an Authorization header")
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
		return "", problem.Unauthorized(problem.NoToken)
	}
	cookies := r.CookiesNamed(wire.TokenCookie)
	switch {
	case len(cookies) > 1:
		return "", problem.Unauthorized("several " + wire.TokenCookie + " cookies: log in again")
	case len(cookies) == 0, cookies[0].Value == "", len(cookies[0].Value) > maxToken:
		return "", problem.Unauthorized(problem.NoToken)
	}
	return cookies[0].Value, nil
}

// changes reports whether the method is one by which a page can do harm without
// seeing the answer.
func changes(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// sameOrigin reports whether the browser says that a page of this server made
// the request. If it does not say, the answer is no.
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
	// Behind a proxy that ends TLS the page is https and the request is not. A
	// plain page, which anybody on the network path can forge, never comes from
	// an https server.
	return u.Scheme == "https" || (u.Scheme == "http" && r.TLS == nil)
}
