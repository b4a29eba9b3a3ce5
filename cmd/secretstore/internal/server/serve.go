package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"secretstore/internal/connections"
	"secretstore/internal/framing"
)

const (
	// shutdownGrace is how long requests in flight may take after SIGTERM.
	shutdownGrace = 10 * time.Second
	// headTimeout and idleTimeout limit what a silent client costs.
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	// maxHead is the largest head of a request in bytes; tokens are most of it.
	maxHead = 64 << 10
	// maxStreams is how many requests a connection of HTTP/2 may have at once: what a
	// connection costs is a multiple of what a request costs. Clients open more
	// connections if need be, and RFC 9113 asks for no fewer.
	maxStreams = 100
	// smallTransfer is the time to read a small request. Package api sets other
	// deadlines for large bodies and answers.
	smallTransfer = time.Minute
	// slowestClient is the rate, in bytes per second, at which the largest body
	// may arrive before the server gives up writing the answer.
	slowestClient = 32 << 10
)

// endpoint is one address that is served.
type endpoint struct {
	listener net.Listener
	scheme   string
	server   *http.Server
}

// bind listens on an address. It comes before everything else: if somebody starts two
// servers with one configuration, the second ends here.
func bind(ctx context.Context, addr, scheme string, tlsConfig *tls.Config) (*endpoint, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return newEndpoint(l, scheme, tlsConfig), nil
}

func newEndpoint(l net.Listener, scheme string, tlsConfig *tls.Config) *endpoint {
	return &endpoint{listener: l, scheme: scheme, server: &http.Server{
		TLSConfig: tlsConfig,
		// OPTIONS * goes through the same checks as any other request.
		DisableGeneralOptionsHandler: true,
	}}
}

// url returns the address for people and programs on this machine.
func (e *endpoint) url() string { return e.scheme + "://" + e.listener.Addr().String() }

// prepare sets the handler and the limits for clients. maxBody is the largest body
// that the handler reads, in bytes.
//
// Malformed requests (a bad request line or header, no Host, a head beyond maxHead)
// never reach the handler: net/http answers in plain text and closes the connection.
// It has no hook for that, and rewriting its answers would take a second HTTP parser.
func (e *endpoint) prepare(h http.Handler, maxBody int64, log *zap.Logger) {
	e.server.Handler = connections.Handler(h)
	e.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return framing.Context(connections.Context(ctx, c), c)
	}
	e.server.ReadHeaderTimeout = headTimeout
	e.server.ReadTimeout = smallTransfer
	// It includes reading the body, which must have its time, too.
	e.server.WriteTimeout = 2*smallTransfer + time.Duration(maxBody/slowestClient)*time.Second
	e.server.IdleTimeout = idleTimeout
	e.server.MaxHeaderBytes = maxHead
	e.server.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams}
	if std, err := zap.NewStdLogAt(log.Named("http"), zap.WarnLevel); err == nil {
		e.server.ErrorLog = stdlog.New(shortLines{std.Writer()}, "", 0)
	}
}

// maxLine is the length of the longest line that net/http logs, in bytes.
const maxLine = 512

// shortLines cuts lines off. An error about a handshake repeats names of the
// certificate that a stranger has shown, which may be as long as they like.
type shortLines struct{ to io.Writer }

// Write implements io.Writer.
func (s shortLines) Write(line []byte) (int, error) {
	if _, err := s.to.Write(line[:min(len(line), maxLine)]); err != nil {
		return 0, err
	}
	return len(line), nil
}

// run serves until shutdown.
func (e *endpoint) run() error {
	listener := framing.Listen(e.listener)
	if e.scheme == "https" {
		listener = framing.ListenTLS(e.listener, e.server.TLSConfig, headTimeout, func(c net.Conn, err error) {
			e.server.ErrorLog.Printf("http: TLS handshake error from %v: %v", c.RemoteAddr(), err)
		})
	}
	err := e.server.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", e.url(), err)
}

// errCutOff: a request in flight did not finish within shutdownGrace.
var errCutOff = errors.New("requests in flight were cut off")

// serve runs all endpoints until ctx ends or one fails. Then it stops accepting, lets
// requests in flight finish, and cuts off those that take longer than grace.
func serve(ctx context.Context, endpoints []*endpoint, grace time.Duration) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		g.Go(e.run)
		g.Go(func() error {
			<-ctx.Done()
			// The contexts of requests do not end with ctx, so they can finish.
			bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
			defer cancel()
			if err := e.server.Shutdown(bound); err != nil {
				return errors.Join(errCutOff, e.server.Close())
			}
			return nil
		})
	}
	return g.Wait()
}

// limit bounds the connections of all endpoints together. It calls dropped for
// each one that is closed or refused because there are too many.
func limit(endpoints []*endpoint, maximum int, proxies []netip.Prefix, dropped func(), log *zap.Logger) *connections.Limiter {
	warnings := &rate.Sometimes{Interval: time.Minute}
	limiter := connections.New(maximum, proxies, func() {
		dropped()
		warnings.Do(func() {
			log.Warn("too many connections: the ones idle longest are closed, or new ones refused", zap.Int("max", maximum))
		})
	})
	for _, e := range endpoints {
		e.listener = limiter.Listen(e.listener)
	}
	return limiter
}
