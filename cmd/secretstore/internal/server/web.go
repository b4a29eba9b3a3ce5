package server

import (
	"net/http"
	"strings"
	"time"

	"secretstore/api"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/iam/sessions"
	"secretstore/seal"
	"secretstore/web"
)

// newPages returns the pages for people, which call the API with Attach.
func (s *Server) newPages(st *seal.Store, auth api.Authenticator) *web.Server {
	return web.New(web.Config{
		Verify: auth.Verify, Policy: s.policy.Policy, Accounts: s.iam != nil, Keys: st, Ended: sessions.New(s.records, time.Now),
		Everywhere: s.cfg.Web == config.WebOn, TrustedProxies: s.cfg.TrustedProxies,
		MaxValue: st.MaxSecretSize(), Log: s.log.Named("web"),
	})
}

// withPages returns what serves all requests: the API, and the pages below
// web.Path. Where the security mode demands HTTPS, the API sends browsers there.
func (s *Server) withPages(handler *api.Server) http.Handler {
	if s.pages == nil {
		return handler
	}
	s.pages.Attach(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPage(r) && !handler.DemandsHTTPS(r) {
			s.pages.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

func isPage(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, web.Path) || r.URL.Path+"/" == web.Path
}
