package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	// shutdownGrace is how long requests in flight may go on after SIGTERM.
	shutdownGrace = 10 * time.Second
	// headTimeout and idleTimeout bound what a silent client costs.
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	// maxHead bounds the head of a request; tokens are the largest part of it.
	maxHead = 64 << 10
	// smallTransfer bounds the reading of a small request. Package api gives
	// large bodies, and large answers, deadlines of their own.
	smallTransfer = time.Minute
	// slowestClient is the rate, in bytes a second, at which the largest body
	// may come in before the writing of its answer is given up.
	slowestClient = 32 << 10
)

// endpoint is one address that is served.
type endpoint struct {
	listener net.Listener
	scheme   string
	server   *http.Server
}

// bind opens the addresses before anything else is touched: of two servers
// started by mistake with one configuration, the second ends here.
func bind(ctx context.Context, addr, scheme string, tlsConfig *tls.Config) (*endpoint, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return &endpoint{listener: l, scheme: scheme, server: &http.Server{
		TLSConfig: tlsConfig,
		// OPTIONS * goes through the same checks as any other request.
		DisableGeneralOptionsHandler: true,
	}}, nil
}

// url is the address for people and programs on this machine.
func (e *endpoint) url() string { return e.scheme + "://" + e.listener.Addr().String() }

// prepare sets the handler and the bounds on clients. maxBody is the largest
// body that the handler reads.
//
// What is no HTTP request at all (a malformed request line or header, no Host, a
// head beyond maxHead) never reaches the handler: net/http answers it in plain
// text and closes. It has no hook for that, and to rewrite its bytes on the
// connection would be a second HTTP parser in front of the first.
func (e *endpoint) prepare(h http.Handler, maxBody int64, log *zap.Logger) {
	e.server.Handler = h
	e.server.ReadHeaderTimeout = headTimeout
	e.server.ReadTimeout = smallTransfer
	// It begins with the reading of the body, which must have its time too.
	e.server.WriteTimeout = 2*smallTransfer + time.Duration(maxBody/slowestClient)*time.Second
	e.server.IdleTimeout = idleTimeout
	e.server.MaxHeaderBytes = maxHead
	if std, err := zap.NewStdLogAt(log.Named("http"), zap.WarnLevel); err == nil {
		e.server.ErrorLog = std
	}
}

// run serves until shutdown.
func (e *endpoint) run() error {
	var err error
	if e.scheme == "https" {
		err = e.server.ServeTLS(e.listener, "", "")
	} else {
		err = e.server.Serve(e.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", e.url(), err)
}

// errCutOff: a request in flight did not finish within shutdownGrace.
var errCutOff = errors.New("requests in flight were cut off")

// serve runs all endpoints until ctx is done or one fails, then stops accepting,
// lets requests in flight finish, and cuts off what is left after the grace.
func serve(ctx context.Context, endpoints []*endpoint, grace time.Duration) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		g.Go(e.run)
		g.Go(func() error {
			<-ctx.Done()
			// The request contexts do not end with ctx: that is what lets them finish.
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
