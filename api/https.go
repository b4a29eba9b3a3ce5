package api

import (
	"net/http"
	"net/netip"

	"secretstore/api/internal/answer"
	"secretstore/api/internal/head"
	"secretstore/api/internal/problem"
	"secretstore/api/internal/redirect"
	"secretstore/seal"
)

// Site is where a server is reached by HTTPS; see the type itself.
type Site = redirect.Site

// https sends clients from plain HTTP to HTTPS.
type https struct {
	site redirect.Site
	only bool // strict mode: nothing else is served
	// redirected is what the log and the metrics call requests that were answered
	// with a redirect because of the mode, whatever they asked for.
	redirected *endpoint
	// pages is where a browser that asks for the root is sent to; may be nil.
	pages Pages
}

func newHTTPS(site redirect.Site, mode seal.Mode, pages Pages) https {
	return https{site, mode == seal.ModeStrict, &endpoint{name: "redirect", path: "redirect", root: true, open: true}, pages}
}

// demanded reports whether a request to t came by plain HTTP and must not be
// answered there.
func (h *https) demanded(r *http.Request, t target) bool {
	if !h.only || r.TLS != nil {
		return false
	}
	if t.res == nil {
		return true
	}
	ep := t.res.methods[r.Method]
	return ep == nil || !ep.plain || !fromHere(r)
}

// fromHere reports whether the peer is this machine.
func fromHere(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// redirectAll is the answer to all requests that HTTPS is demanded for. It is a 307:
// the method and the body stay as they are, and clients written in Java follow it,
// but no 308. Nothing in the request but its Host and its path is looked at.
func (h *https) redirectAll(x *exchange) error {
	x.req.open, x.req.ep = true, h.redirected
	return h.to(x, http.StatusTemporaryRedirect)
}

// root answers GET /. A browser that came by plain HTTP is sent to HTTPS, and then to
// the pages. Their address is relative: a proxy may have stripped a prefix.
func (h *https) root(x *exchange) (answer.Reply, error) {
	if x.req.TLS == nil && h.site.Exists() {
		return answer.Reply{}, h.to(x, http.StatusMovedPermanently)
	}
	if h.pages != nil && h.pages.Serves(x.req.Request) && head.AcceptsHTML(x.req.Header) {
		return answer.Reply{Status: http.StatusSeeOther, Location: "ui/"}, nil
	}
	return answer.Reply{}, problem.NotFound("nothing here: the API is below /secrets/v1")
}

func (h *https) to(x *exchange, status int) error {
	origin, err := h.site.Origin(x.req.Host)
	if err != nil {
		return problem.BadRequest("the Host header does not name a host, with or without a port: use HTTPS")
	}
	return problem.Redirect(status, origin+redirect.Target(x.req.Request), origin)
}
