package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"go.uber.org/zap"

	"secretstore/acl"
	"secretstore/internal/clientnet"
	"secretstore/internal/framing"
)

// Path is where the pages are.
const Path = "/ui/"

// Config is what a Server is made of. All of it is required but where it says
// otherwise.
type Config struct {
	// Verify returns whom a token is for.
	Verify func(token string) (acl.Principal, error)
	// Policy returns the policy in force. Pages leave out what it denies; the API
	// decides about each request.
	Policy func() *acl.Policy
	// Accounts: people can sign in with a password.
	Accounts bool
	// Keys encrypts the cookies of sessions.
	Keys Keys
	// Ended remembers which sessions were ended.
	Ended Ended
	// Everywhere serves the pages to all clients. Otherwise they are only for those
	// who come by TLS, to a loopback address or through a trusted proxy.
	Everywhere bool
	// TrustedProxies are the peers whose X-Forwarded-Proto is believed.
	TrustedProxies []netip.Prefix
	// MaxValue bounds the values of secrets, in bytes.
	MaxValue int64
	// Log takes faults; nil drops them.
	Log *zap.Logger
}

// Server serves the pages. It is an http.Handler.
type Server struct {
	cfg      Config
	api      API
	log      *zap.Logger
	sessions *sessions
	pages    map[string]*page
	origin   *http.CrossOriginProtection
	now      func() time.Time
}

// New returns a server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, log: cfg.Log, pages: pages(), origin: http.NewCrossOriginProtection(), now: time.Now}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	templates() // now, not with the first page
	s.sessions = newSessions(cfg.Keys, cfg.Ended, cfg.Verify, func() time.Time { return s.now() })
	return s
}

// API is the server whose API the pages call.
type API interface {
	http.Handler
	// ReadBody reads the body of a request of somebody, of at most limit bytes, in the
	// memory and the time that the server has for bodies. The caller calls release when
	// it no longer needs the body. An error has the status of the answer and its text.
	ReadBody(w http.ResponseWriter, r *http.Request, who acl.Principal, limit int64) (content []byte, release func(), status int, err error)
	// HoldAnswer claims memory for an answer to somebody, of so many bytes, of what the
	// server has for answers. The caller calls release when they are sent. An error has
	// the status of the answer and its text.
	HoldAnswer(who acl.Principal, size int64) (release func(), status int, err error)
}

// Attach says which API answers the requests that the pages make. Call it before the
// first request.
func (s *Server) Attach(api API) { s.api = api }

//go:embed static/*
var staticFiles embed.FS

// asset is a file that is the same for everybody.
type asset struct {
	contentType string
	content     []byte
	version     string // changes with the content
}

var assets = loadAssets()

func loadAssets() map[string]asset {
	all := make(map[string]asset)
	files, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		panic(err) // they are part of the program
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, f := range files {
		content, err := staticFiles.ReadFile("static/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		all[f.Name()] = asset{types[path.Ext(f.Name())], content, base64.RawURLEncoding.EncodeToString(sum[:9])}
	}
	return all
}

// ServeHTTP serves one request. Its path begins with Path, or is Path without the
// slash at the end.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	both := framing.Begin(w, r)
	setPolicy(w.Header(), s.isTrustworthy(r))
	name, ok := strings.CutPrefix(r.URL.Path, Path)
	switch {
	case both:
		plainError(w, http.StatusBadRequest, "The request has two lengths.")
	case !s.Serves(r):
		plainError(w, http.StatusNotFound, "The pages are only served by HTTPS, on a loopback address, or behind a trusted proxy: see --web.")
	case !ok:
		redirect(w, strings.TrimPrefix(Path, "/"))
	case s.serveAsset(w, r, name):
	default:
		s.serve(w, r, name)
	}
}

// policy lets a page load and do nothing but what comes from this server.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// setPolicy sets the headers that all answers have. Browsers that come by plain HTTP
// do not say which site a request is from: they name the origin, and only if the
// page may have a referrer. It is then the same site that sees it.
func setPolicy(h http.Header, trustworthy bool) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	if !trustworthy {
		h.Set("Referrer-Policy", "same-origin")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func plainError(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // an error means that the client has left
}

// redirect sends the browser to a relative address. http.Redirect would make it an
// absolute path, which a proxy that strips a prefix does not know.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// serveAsset returns false if there is no asset of that name.
func (s *Server) serveAsset(w http.ResponseWriter, r *http.Request, name string) bool {
	a, ok := assets[name]
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if r.URL.RawQuery == a.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", a.contentType)
	_, _ = w.Write(a.content) // an error means that the client has left
	return true
}

// Serves reports whether the pages are for this client.
func (s *Server) Serves(r *http.Request) bool {
	return s.cfg.Everywhere || r.TLS != nil || s.viaProxy(r) || onLoopback(r.Context())
}

// onLoopback reports whether the client has connected to a loopback address.
func onLoopback(ctx context.Context) bool {
	local, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.IP.IsLoopback()
}

// viaProxy reports whether a trusted proxy has sent the request.
func (s *Server) viaProxy(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && clientnet.Within(peer.Addr(), s.cfg.TrustedProxies)
}

// isSecure reports whether the browser came by HTTPS.
func (s *Server) isSecure(r *http.Request) bool {
	proto := r.Header["X-Forwarded-Proto"]
	if s.viaProxy(r) && len(proto) > 0 {
		return len(proto) == 1 && strings.EqualFold(proto[0], "https")
	}
	return r.TLS != nil
}

// isTrustworthy reports whether a browser sends Sec-Fetch-Site: by HTTPS, and to
// its own machine.
func (s *Server) isTrustworthy(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return s.isSecure(r) || host == "localhost" || err == nil && addr.IsLoopback()
}
